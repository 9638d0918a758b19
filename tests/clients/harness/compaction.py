"""A compacted log: gaps of thousands of offsets, and batches that are empty. Every client reads it to its end."""

import base64
import time

from . import wire
from .report import check, equal

TOPIC = "compacted"
CONFIGS = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.bytes": str(1 << 20)}
BATCHES, EACH, KEYS = 480, 10, 7
# The one batch of this producer is superseded by others, and its sequence is remembered all the same.
PRODUCER = 9
COMPACT_LIMIT_S = 240


def write(broker):
    """Four segments and more, of which all but the last are going to be nearly empty."""
    wire.create_topic(broker.address, TOPIC, 1, CONFIGS)
    wire.wait_for(broker.address, TOPIC, 1)
    now = int(time.time() * 1000)
    with wire.Peer(broker.address) as peer:
        peer.produce(TOPIC, 0, wire.batch([(now, b"0", b"early", [])], producer=(PRODUCER, 0, 0)))
        peer.produce(TOPIC, 0, wire.batch([(now, b"once", b"kept", [])]))
        for number in range(BATCHES):
            peer.produce(TOPIC, 0, wire.batch([(now + at, str(at % KEYS).encode(), b"%d %d " % (number, at) + b"v" * 1000, [])
                                               for at in range(EACH)]))


class Compacted:
    """What is left once the broker has compacted what `write` wrote."""

    def __init__(self, broker):
        self.broker = broker
        deadline = time.monotonic() + COMPACT_LIMIT_S
        self.records = None
        while True:
            before = self.records
            self.batches = wire.log_of(broker.address, TOPIC)
            self.records = [record for batch in self.batches for record in batch.records]
            # The last segment is left alone. More passes than one may be under way.
            if len(self.records) < BATCHES * EACH // 5 and self.records == before:
                return
            check(time.monotonic() < deadline, "it still has", len(self.records), "records")
            time.sleep(1)

    def keeps_the_last(self):
        offsets = [record[0] for record in self.records]
        equal(offsets, sorted(set(offsets)), "offsets")
        last = {record[2]: record for record in self.records}
        equal(sorted(last), sorted([b"once", *(str(key).encode() for key in range(KEYS))]), "keys")
        equal(last[b"once"][0], 1, "the offset of what nobody superseded")
        check(all(last[str(at % KEYS).encode()][3].startswith(b"%d %d " % (BATCHES - 1, at)) for at in range(EACH - KEYS, EACH)),
              "the last values are not the last ones")
        check(all(batch.sound for batch in self.batches), "a batch fails its checksum")

    def gap(self):
        """The longest: the offset before it, and the one behind it."""
        offsets = [record[0] for record in self.records]
        return max(zip(offsets, offsets[1:]), key=lambda pair: pair[1] - pair[0])

    def is_found_behind_gaps(self):
        before, behind = self.gap()
        check(behind - before > 500, "the longest gap is from", before, "to", behind)
        with wire.Peer(self.broker.address) as peer:
            for offset in (before + 1, (before + behind) // 2, behind - 1, behind):
                data, _ = peer.fetch(TOPIC, 0, offset)
                found = next(record[0] for batch in wire.batches(data) for record in batch.records if record[0] >= offset)
                equal(found, behind, f"the first record from {offset} on")

    def keeps_a_producers_last_sequence(self):
        first = self.batches[0]
        equal((first.offset, first.producer, first.sequence, first.records), (0, PRODUCER, 0, []), "the batch that its producer is known by")

    def is_read(self, run):
        _, behind = self.gap()
        for source, wanted in (("earliest", self.records), (behind - 2, [record for record in self.records if record[0] >= behind])):
            found = run.ask("consume", topic=TOPIC, p=0, n=len(wanted), **{"from": source})["records"]
            equal([(record["o"], base64.b64decode(record["v"])) for record in found], [(record[0], record[3]) for record in wanted],
                  f"records from {source}")


def claims(broker, runs, report):
    found = []

    def wait():
        found.append(Compacted(broker))

    prefix = f"{broker.name}::compaction::"
    report.claim(prefix + "a_log_of_few_keys_shrinks", wait)
    for name, *holds in (
        (prefix + "of_each_key_the_last_record_is_kept_at_its_offset", Compacted.keeps_the_last),
        (prefix + "whoever_asks_within_a_gap_gets_what_lies_behind_it", Compacted.is_found_behind_gaps),
        (prefix + "a_batch_that_is_empty_keeps_its_producers_last_sequence", Compacted.keeps_a_producers_last_sequence),
        *((f"{run.prefix}::it_reads_a_compacted_log_to_its_end", Compacted.is_read, run) for run in runs),
    ):
        if found:
            yield name, holds[0], found[0], *holds[1:]
        else:
            report.skip(name, "there is no compacted log: waiting for it failed or was not asked for")
