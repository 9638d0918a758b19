"""What every client does alone: writing, reading, finding, and the topics of the matrix."""

import time

from . import wire
from .clients import ALL_ACKS, ALL_CODECS, Refused
from .records import LARGE, NULL_HEADER, Sample, corpus_for, seen, text, told
from .report import check, equal, until

KEYS = [f"key-{number}".encode() for number in range(64)]
PARTITIONS = 8
# Between two records of a series, so that a time says which one is meant.
STEP_MS = 1_000
SERIES = 20
TRANSACTIONAL_ID_REFUSED = 53
# Half of what a driver waits for an answer, or tries again, before it gives up by itself.
AT_ONCE_S = 30


class Run:
    """One client against one broker: its driver, and topics that carry its name."""

    def __init__(self, client, broker, report):
        self.client = client
        self.broker = broker
        self.report = report
        self.driver = client.drive(broker)
        # Recent, or retention would take the records away under the test.
        self.now = int(time.time() * 1000) - 3_600_000

    @property
    def prefix(self):
        return f"{self.broker.name}::{self.client.name}"

    def topic(self, what, partitions=1, configs=None):
        name = f"{self.client.name}-{what}"
        wire.create_topic(self.broker.address, name, partitions, configs)
        wire.wait_for(self.broker.address, name, partitions)
        return name

    def ask(self, do, **command):
        return self.driver.ask(do, **command)

    def claim(self, name, holds, *arguments, needs=None, attempts=1):
        name = f"{self.prefix}::{name}"
        if needs and not self.client.can(needs):
            self.report.skip(name, self.client.cannot[needs])
        else:
            self.report.claim(name, holds, *arguments, attempts=attempts)

    def log(self, topic, partition=0):
        return wire.log_of(self.broker.address, topic, partition)


def alone(run):
    """Everything that needs no other client."""
    for codec in ALL_CODECS:
        run.claim(f"what_it_writes_with_{codec}_is_stored_with_{codec}_and_it_reads_it_back", writes_with, run, codec)
    for acks in ALL_ACKS:
        run.claim(f"with_acks_{acks}_every_record_arrives_once_and_in_order", acknowledges, run, acks, needs=f"acks {acks}")
    run.claim("an_idempotent_producer_numbers_its_batches", is_idempotent, run, needs="idempotence")
    run.claim("a_transaction_is_committed_or_refused_at_once", transacts, run, needs="transactions")
    run.claim("its_timestamps_are_kept", keeps_times, run, needs="time")
    run.claim("a_header_without_a_value_goes_out_and_in", null_header, run, needs="null header")
    run.claim("a_record_of_900_kb_goes_out_and_in", large_record, run)
    run.claim("a_batch_above_the_limit_is_refused_and_the_next_is_taken", too_large, run)
    run.claim("keys_choose_partitions_as_in_java", keyed, run, needs="keys")
    run.claim("it_reads_from_the_beginning_from_an_offset_and_from_a_time", reads_from, run)
    run.claim("it_finds_the_ends_of_a_partition_and_the_offset_of_a_time", finds, run)
    run.claim("an_empty_partition_begins_and_ends_at_0", empty, run)


def writes_with(run, codec):
    topic = run.topic(f"with-{codec}")
    samples = corpus_for(run.client)
    run.ask("produce", topic=topic, codec=codec,
            records=[sample.to_write(run.now + at) for at, sample in enumerate(samples)])
    batches = run.log(topic)
    check(all(batch.sound for batch in batches), "a batch fails its checksum")
    codecs = {batch.codec for batch in batches}
    # A client may leave a batch uncompressed that would only grow.
    check(codec in codecs and codecs <= {codec, "none"}, "the log holds", sorted(codecs))
    equal(sum(batch.count for batch in batches), len(samples), "records in the log")
    reads_all(run, topic, samples)


def reads_all(run, topic, samples, expected_of=seen):
    records = run.ask("consume", topic=topic, p=0, n=len(samples), **{"from": "earliest"})["records"]
    equal(len(records), len(samples), "records read")
    for at, (record, sample) in enumerate(zip(records, samples)):
        equal(told(record, run.client), expected_of(sample, run.client), f"record {at}")
        equal(record["o"], at, "its offset")


def numbered(count, start, partition=0):
    return [Sample(b"k", str(at).encode()).to_write(start + at * STEP_MS, partition) for at in range(count)]


def acknowledges(run, acks):
    topic = run.topic(f"acks-{acks}")
    run.ask("produce", topic=topic, acks=acks, records=numbered(50, run.now))
    # Without an acknowledgement the client is done before the broker is.
    until(lambda: sum(batch.count for batch in run.log(topic)) >= 50, "50 records")
    values = [record[3] for batch in run.log(topic) for record in batch.records]
    equal(values, [str(at).encode() for at in range(50)], "values in the log")


def is_idempotent(run):
    topic = run.topic("idempotent")
    run.ask("produce", topic=topic, idempotent=True, records=numbered(50, run.now))
    expected = {}
    for batch in run.log(topic):
        check(batch.producer >= 0 and batch.producer_epoch >= 0, "a batch has no producer id")
        equal(batch.sequence, expected.get(batch.producer, 0), "first sequence of a batch")
        expected[batch.producer] = batch.sequence + batch.count
    equal(sum(expected.values()), 50, "records in the log")
    if run.client.name == "sarama":
        check(len(run.log(topic)) >= 5, "it sent all in", len(run.log(topic)), "batches")


def transacts(run):
    """A broker without transactions says so; nobody waits for one."""
    topic = run.topic("transaction")
    began = time.monotonic()
    try:
        run.ask("transact", topic=topic, id=topic)
    except Refused as refused:
        check(not run.broker.has_transactions, "it is refused:", refused)
        if run.client.can("tell why there is no coordinator"):
            equal(refused.code, TRANSACTIONAL_ID_REFUSED, f"the code of {refused}")
        check(time.monotonic() - began < AT_ONCE_S, "it took", time.monotonic() - began, "s")
    else:
        check(run.broker.has_transactions, "it was taken")
        equal([record[3] for record in run.log(topic)[0].records], [b"in a transaction"], "values in the log")


def keeps_times(run):
    topic = run.topic("times")
    times = [run.now, run.now + 5, run.now - 86_400_000, run.now + 1]
    run.ask("produce", topic=topic, records=[Sample(b"k", b"v").to_write(at) for at in times])
    equal([record[1] for batch in run.log(topic) for record in batch.records], times, "timestamps in the log")
    records = run.ask("consume", topic=topic, p=0, n=4, **{"from": "earliest"})["records"]
    equal([record["t"] for record in records], times, "timestamps read")


def null_header(run):
    topic = run.topic("null-header")
    run.ask("produce", topic=topic, records=[NULL_HEADER.to_write(run.now)])
    (_, _, _, _, headers), = (record for batch in run.log(topic) for record in batch.records)
    equal(headers, NULL_HEADER.headers, "headers in the log")
    reads_all(run, topic, [NULL_HEADER])


def large_record(run):
    topic = run.topic("large")
    sample = Sample(b"large", LARGE * 3)
    run.ask("produce", topic=topic, records=[sample.to_write(run.now)])
    reads_all(run, topic, [sample])


def too_large(run):
    topic = run.topic("limit", configs={"max.message.bytes": "10000"})
    try:
        run.ask("produce", topic=topic, records=[Sample(b"k", LARGE[:20_000]).to_write(run.now)])
    except Refused as refused:
        check(refused.code == 10, "refused with", refused.code, refused)
    else:
        check(False, "it was taken")
    run.ask("produce", topic=topic, records=[Sample(b"k", b"small").to_write(run.now)])
    equal([record[3] for batch in run.log(topic) for record in batch.records], [b"small"], "values in the log")


def keyed(run):
    topic = run.topic("keyed", PARTITIONS)
    run.ask("produce", topic=topic, records=[{"k": text(key), "v": text(key), "t": run.now} for key in KEYS])
    found = {record[2]: partition for partition in range(PARTITIONS) for batch in run.log(topic, partition)
             for record in batch.records}
    equal(found, {key: wire.partition_of(key, PARTITIONS) for key in KEYS}, "partitions")


def series(run, topic):
    """Batches of several records that no client wrote."""
    with wire.Peer(run.broker.address) as peer:
        for first in range(0, SERIES, 5):
            peer.produce(topic, 0, wire.batch([(run.now + at * STEP_MS, b"k", str(at).encode(), []) for at in range(first, first + 5)]))


def reads_from(run):
    topic = run.topic("series")
    series(run, topic)
    # Also in the middle of a batch.
    for source, first in (("earliest", 0), (0, 0), (7, 7), (10, 10), (19, 19), ({"time": run.now + 7 * STEP_MS}, 7),
                          ({"time": run.now + 7 * STEP_MS + 1}, 8), ({"time": 1}, 0)):
        records = run.ask("consume", topic=topic, p=0, n=min(6, SERIES - first), **{"from": source})["records"]
        equal([record["o"] for record in records], list(range(first, min(first + 6, SERIES))), f"offsets from {source}")
        equal([record["v"] for record in records], [text(str(record["o"]).encode()) for record in records], f"values from {source}")


def finds(run):
    topic = run.topic("finds")
    series(run, topic)
    for moment, offset in ((run.now, 0), (run.now + 12 * STEP_MS, 12), (run.now + 12 * STEP_MS + 1, 13)):
        equal(run.ask("offsets", topic=topic, p=0, time=moment), {"earliest": 0, "latest": SERIES, "at": offset}, "offsets")
    after = run.ask("offsets", topic=topic, p=0, time=run.now + SERIES * STEP_MS)["at"]
    equal(after, -1 if run.client.can("no time") else SERIES, "the offset of a time after the last record")


def empty(run):
    topic = run.topic("empty")
    equal(run.ask("offsets", topic=topic, p=0), {"earliest": 0, "latest": 0}, "offsets")


def write_matrix(run):
    """One topic with what this client can write, in every codec; what stands in it."""
    topic = run.topic("matrix")
    written = []
    for codec in ALL_CODECS:
        samples = corpus_for(run.client)
        run.ask("produce", topic=topic, codec=codec,
                records=[sample.to_write(run.now + len(written) + at) for at, sample in enumerate(samples)])
        written += samples
    return topic, written


def read_matrix(reader, writer, topic, written):
    records = reader.ask("consume", topic=topic, p=0, n=len(written), **{"from": "earliest"})["records"]
    equal(len(records), len(written), "records read")
    for at, (record, sample) in enumerate(zip(records, written)):
        equal(told(record, reader.client), seen(sample, reader.client), f"record {at}")
        if writer.client.can("time"):
            equal(record["t"], writer.now + at, f"time of record {at}")


