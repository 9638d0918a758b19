"""Kafka's protocol by hand, as little of it as the suite needs to be nobody's client: frames, batches, Produce and Fetch."""

import gzip
import socket
import struct
import time

from .report import PATIENCE_S

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
BATCH = struct.Struct(">qiibIhiqqqhii")
# What the checksum covers begins here.
CHECKED_AT = 21
PRODUCE, FETCH, LIST_OFFSETS, OFFSET_FETCH, FIND_COORDINATOR = 0, 1, 2, 9, 10
CREATE_TOPICS = 19


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _table():
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        yield value


_TABLE = tuple(_table())


def murmur2(key):
    """The hash by which Kafka's own producer gives a key its partition."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at:at + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    rest = key[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


def partition_of(key, partitions):
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def varint(number):
    zigzag = (number << 1) ^ (number >> 63)
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


def _sized(data):
    return varint(-1) if data is None else varint(len(data)) + data


def batch(records, producer=(-1, -1, -1), attributes=0):
    """An uncompressed batch of `(time, key, value, headers)`; the producer is id, epoch and first sequence."""
    times = [record[0] for record in records]
    body = b""
    for at, (moment, key, value, headers) in enumerate(records):
        record = b"\0" + varint(moment - times[0]) + varint(at) + _sized(key) + _sized(value) + varint(len(headers))
        for name, held in headers:
            record += _sized(name.encode()) + _sized(held)
        body += varint(len(record)) + record
    return _framed(struct.pack(">hiqqqhii", attributes, len(records) - 1, times[0], max(times), *producer, len(records)) + body)


def _framed(checked):
    """A whole batch of what its checksum covers."""
    return struct.pack(">qiibI", 0, len(checked) + 9, -1, 2, crc32c(checked)) + checked


def gzipped(data):
    """An uncompressed batch in gzip."""
    attributes, = struct.unpack_from(">h", data, CHECKED_AT)
    return _framed(struct.pack(">h", attributes | 1) + data[CHECKED_AT + 2:BATCH.size] + gzip.compress(data[BATCH.size:]))


class Batch:
    """The header of a batch as it stands in a log, and its records where this module can unpack them."""

    def __init__(self, data):
        (self.offset, length, self.epoch, self.magic, crc, self.attributes, self.last_delta, self.first_time,
         self.max_time, self.producer, self.producer_epoch, self.sequence, self.count) = BATCH.unpack_from(data)
        self.size = 12 + length
        self.sound = crc == crc32c(data[21:self.size])
        self.codec = CODECS[self.attributes & 7]
        self.records = None
        body = data[BATCH.size:self.size]
        if self.codec == "gzip":
            body = gzip.decompress(body)
        if self.codec in ("none", "gzip"):
            self.records = list(self._read(body))

    def _read(self, body):
        at = 0

        def number():
            nonlocal at
            value = shift = 0
            while True:
                byte = body[at]
                at += 1
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    return (value >> 1) ^ -(value & 1)
                shift += 7

        def sized():
            nonlocal at
            size = number()
            if size < 0:
                return None
            at += size
            return body[at - size:at]

        for _ in range(self.count):
            number()
            at += 1
            moment, delta = self.first_time + number(), number()
            key, value = sized(), sized()
            headers = [(sized().decode(), sized()) for _ in range(number())]
            yield self.offset + delta, moment, key, value, headers


def batches(data):
    """The whole batches at the front of `data`."""
    at = 0
    while at + BATCH.size <= len(data) and at + 12 + struct.unpack_from(">i", data, at + 8)[0] <= len(data):
        found = Batch(data[at:])
        at += found.size
        yield found


class Refusal(Exception):
    """An error code where there should be none."""

    def __init__(self, code):
        super().__init__(f"error {code}")
        self.code = code


class Peer:
    """A connection on which requests stand as bytes."""

    def __init__(self, address, limit_s=PATIENCE_S):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=limit_s)
        self._correlation = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, key, version, body, client=b"suite", tags=b""):
        """A request with header version 1, or 2 where `tags` ends its header."""
        self._correlation += 1
        name = struct.pack(">h", -1) if client is None else struct.pack(">h", len(client)) + client
        frame = struct.pack(">hhi", key, version, self._correlation) + name + tags + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        return self._correlation

    def receive(self):
        """The correlation id and the rest of the next answer; None when the peer has closed."""
        size = self._exactly(4)
        if size is None:
            return None
        frame = self._exactly(struct.unpack(">i", size)[0])
        return None if frame is None else (struct.unpack_from(">i", frame)[0], frame[4:])

    def answer(self):
        """The next answer, which there has to be."""
        found = self.receive()
        if found is None:
            raise OSError("the connection has ended")
        return found

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            try:
                part = self.socket.recv(size - len(data))
            except ConnectionResetError:
                return None
            if not part:
                return None
            data += part
        return data

    def produce(self, topic, partition, data, acks=-1, timeout_ms=30_000):
        """Sends a Produce; the base offset, unless nothing is to be answered."""
        self.send_produce(topic, partition, data, acks, timeout_ms)
        return self.produced(topic) if acks else None

    def send_produce(self, topic, partition, data, acks=-1, timeout_ms=30_000):
        name = topic.encode()
        self.send(PRODUCE, 7, struct.pack(">hhii", -1, acks, timeout_ms, 1) + struct.pack(">h", len(name)) + name
                  + struct.pack(">iii", 1, partition, len(data)) + data)

    def produced(self, topic):
        _, answer = self.answer()
        code, offset = struct.unpack_from(">hq", answer, 4 + 2 + len(topic.encode()) + 4 + 4)
        if code:
            raise Refusal(code)
        return offset

    def fetch(self, topic, partition, offset, wait_ms=0, size_max=16 << 20):
        """The bytes that a Fetch of version 4 gives, and the high watermark."""
        name = topic.encode()
        self.send(FETCH, 4, struct.pack(">iiiibi", -1, wait_ms, 1, size_max, 0, 1) + struct.pack(">h", len(name)) + name
                  + struct.pack(">iiqi", 1, partition, offset, size_max))
        _, answer = self.answer()
        at = 4 + 4 + 2 + len(name) + 4 + 4
        code, high, _, aborted = struct.unpack_from(">hqqi", answer, at)
        if code:
            raise Refusal(code)
        at += 22 + 16 * max(aborted, 0)
        size, = struct.unpack_from(">i", answer, at)
        return answer[at + 4:at + 4 + size], high


def end_of(address, topic, partition=0):
    """The offset that ListOffsets of version 1 tells as the latest."""
    name = topic.encode()
    with Peer(address) as peer:
        peer.send(LIST_OFFSETS, 1, struct.pack(">ii", -1, 1) + struct.pack(">h", len(name)) + name + struct.pack(">iiq", 1, partition, -1))
        _, answer = peer.answer()
    code, _, offset = struct.unpack_from(">hqq", answer, 4 + 2 + len(name) + 4 + 4)
    if code:
        raise Refusal(code)
    return offset


def committed(address, group, topic, partitions):
    """The offset of each partition that OffsetFetch of version 1 tells; -1: none."""
    body = string(group) + struct.pack(">i", 1) + string(topic) + struct.pack(f">i{partitions}i", partitions, *range(partitions))
    with Peer(address) as peer:
        peer.send(OFFSET_FETCH, 1, body)
        _, answer = peer.answer()
    at = 4 + len(string(topic)) + 4
    found = {}
    for _ in range(partitions):
        partition, offset, size = struct.unpack_from(">iqh", answer, at)
        at += 14 + max(size, 0)
        code, = struct.unpack_from(">h", answer, at)
        at += 2
        if code:
            raise Refusal(code)
        found[partition] = offset
    return found


def wait_for_groups(address, limit_s=2 * PATIENCE_S):
    """Returns once the coordinator answers for groups of, as good as, every partition of theirs: it is made by the first question."""
    deadline = time.monotonic() + limit_s
    for number in range(300):
        group = f"probe-{number}"
        while True:
            try:
                with Peer(address) as peer:
                    peer.send(FIND_COORDINATOR, 0, string(group))
                    code, = struct.unpack_from(">h", peer.answer()[1])
                if code:
                    raise Refusal(code)
                committed(address, group, "probed", 1)
                break
            except Refusal:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


def create_topic(address, topic, partitions=1, configs=None):
    """Makes a topic with CreateTopics of version 2."""
    entries = b"".join(string(name) + string(value) for name, value in (configs or {}).items())
    with Peer(address) as peer:
        peer.send(CREATE_TOPICS, 2, struct.pack(">i", 1) + string(topic) + struct.pack(">ihii", partitions, 1, 0, len(configs or {}))
                  + entries + struct.pack(">ib", 30_000, 0))
        _, answer = peer.answer()
    code, = struct.unpack_from(">h", answer, 4 + 4 + 2 + len(topic.encode()))
    if code:
        raise Refusal(code)


def wait_for(address, topic, partitions, limit_s=PATIENCE_S):
    """Returns once every partition is led: a broker may answer a creation before."""
    deadline = time.monotonic() + limit_s
    for partition in range(partitions):
        while True:
            try:
                with Peer(address) as peer:
                    peer.fetch(topic, partition, 0)
                break
            except Refusal:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def log_of(address, topic, partition=0, offset=0):
    """Every batch of a partition from `offset` to its high watermark."""
    found = []
    with Peer(address) as peer:
        while True:
            data, high = peer.fetch(topic, partition, offset)
            some = list(batches(data))
            found += some
            if not some or some[-1].offset + some[-1].last_delta + 1 >= high:
                return found
            offset = some[-1].offset + some[-1].last_delta + 1
