"""The records that every client writes and reads, and how each has to see what another wrote."""

import base64
import random
from dataclasses import dataclass, field


@dataclass
class Sample:
    """A record of the corpus; `needs` names what a client must be capable of to write it."""

    key: bytes | None
    value: bytes | None
    headers: list = field(default_factory=list)
    needs: tuple = ()

    def to_write(self, time, partition=0):
        return {"p": partition, "t": time, "k": text(self.key), "v": text(self.value),
                "h": [[name, text(value)] for name, value in self.headers]}


def text(data):
    return None if data is None else base64.b64encode(data).decode()


def data(text):
    return None if text is None else base64.b64decode(text)


EVERY_BYTE = bytes(range(256))
LARGE = random.Random(6).randbytes(300_000)

# What no batch of it may hold for everybody to read it.
CORPUS = [
    Sample(b"plain", b"a value"),
    Sample(b"empty value", b""),
    Sample(b"", b"empty key", needs=("empty key",)),
    Sample(None, b"null key"),
    Sample(b"null value", None),
    Sample(None, None, needs=("null key and value",)),
    Sample(EVERY_BYTE, EVERY_BYTE[::-1], needs=("zero bytes",)),
    Sample(b"headers", b"two", [("a", b"1"), ("b", b"2")]),
    Sample(b"headers", b"a name twice, and not in order", [("n", b"1"), ("m", b"x"), ("n", b"2")], needs=("repeated headers",)),
    Sample(b"headers", b"empty", [("empty", b"")]),
    Sample(b"headers", "größer".encode(), [("größe", "ä".encode())]),
    Sample(b"headers", b"binary", [("bytes", EVERY_BYTE)], needs=("zero bytes",)),
    Sample(b"repeats", b"over and over " * 20_000),
    Sample(b"large", LARGE),
]
NULL_HEADER = Sample(b"headers", b"null", [("null", None), ("after", b"1")], needs=("null header",))


def corpus_for(client):
    """What the client can write, in this order."""
    return [sample for sample in CORPUS if all(client.can(need) for need in sample.needs)
            and not (client.headers in ("grouped", "map") and "repeated headers" in sample.needs)]


def seen(sample, reader):
    """The key, value and headers of a sample as the reader has to tell them."""
    return text(sample.key), text(sample.value), _headers(sample.headers, reader)


def told(record, reader):
    """The key, value and headers of a record that a reader told, comparable with `seen`."""
    headers = record["h"]
    if reader.headers != "text":
        headers = _headers([(name, data(value)) for name, value in headers], reader)
    return record["k"], record["v"], headers


def _headers(headers, reader):
    if reader.headers == "grouped":
        grouped = {}
        for name, value in headers:
            grouped.setdefault(name, []).append(value)
        return [(name, value) for name, values in grouped.items() for value in values]
    if reader.headers == "map":
        return sorted(dict(headers).items())
    if reader.headers == "text":
        return ",".join(f"{name}=" + ("NULL" if value is None else value.split(b"\0")[0].decode()) for name, value in headers)
    return [(name, value) for name, value in headers]
