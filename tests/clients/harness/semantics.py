"""What brokers get wrong: claims about what stands on the wire, put to each broker by hand or in Kafka's own classes."""

import struct
import time

from . import questions, sessions, wire
from .report import check, equal, until, until_equal

API_VERSIONS, METADATA = 18, 3
# The code of a coordinator that is not there yet, and of a topic that is there already.
LOADS, EXISTS = 14, 36
# What no answer takes that comes at once, and how long is waited where nothing comes.
AT_ONCE_S, LONG_MS = 25, 50_000


class Semantics:
    """A broker, and a driver that carries any request as JSON."""

    def __init__(self, broker, driver):
        self.broker = broker
        self.driver = driver
        self.now = int(time.time() * 1000) - 3_600_000

    def claims(self, names):
        for name in names:
            yield f"{self.broker.name}::semantics::{name.__name__}", name, self

    def peer(self):
        return wire.Peer(self.broker.address)

    def topic(self, name, partitions=1, configs=None):
        wire.create_topic(self.broker.address, name, partitions, configs)
        wire.wait_for(self.broker.address, name, partitions)
        return name

    def raw(self, api, version, request):
        """The answer, which there has to be."""
        told = self.driver.ask("raw", api=api, version=version, request=request)
        check("response" in told and told["left"] == 0, api, version, "answers", told)
        return told["response"]

    def batch(self, count=3, first=0, **options):
        return wire.batch([(self.now + first + at, b"k", str(first + at).encode(), []) for at in range(count)], **options)

    def producer(self):
        request = {"transactionalId": None, "transactionTimeoutMs": 60000, "producerId": -1, "producerEpoch": -1}
        told = {}

        def asked():
            told.update(self.raw("INIT_PRODUCER_ID", 4, request))
            return told["errorCode"] != LOADS

        until(asked, "the coordinator still loads")
        equal(told["errorCode"], 0, "error")
        return told["producerId"], told["producerEpoch"]

    def values(self, topic, partition=0):
        return [record[3] for batch in wire.log_of(self.broker.address, topic, partition) for record in batch.records]

    def offset_of(self, topic, moment, version=7, isolation=0):
        request = questions.list_offsets(topic, moment) | {"isolationLevel": isolation}
        told = self.raw("LIST_OFFSETS", version, request)["topics"][0]["partitions"][0]
        equal(told["errorCode"], 0, "error")
        return told["offset"]

    def topic_id(self, topic):
        return self.raw("METADATA", 12, questions.metadata(questions.by_name(topic)))["topics"][0]["topicId"]

    def fetch(self, version, parts, **others):
        """A Fetch of `(topic, partition, offset)`, by name up to version 12 and by id from 13 on."""
        topics = [{"topic": topic, "topicId": self.topic_id(topic), "partitions": [{
            "partition": partition, "currentLeaderEpoch": -1, "fetchOffset": offset, "lastFetchedEpoch": -1, "logStartOffset": -1,
            "partitionMaxBytes": 1 << 20}]} for topic, partition, offset in parts]
        return self.raw("FETCH", version, questions.fetch(questions.MISSING, 0) | {"topics": topics} | others)


def a_version_of_api_versions_that_nobody_knows_is_answered_in_version_0(at):
    with at.peer() as peer:
        for version in (6, 99):
            peer.send(API_VERSIONS, version, b"\0\0\0", tags=b"\0")
            _, answer = peer.receive()
            code, count = struct.unpack_from(">hi", answer)
            equal(code, 35, "error")
            ranges = {key: (low, high) for key, low, high in struct.iter_unpack(">hhh", answer[6:6 + 6 * count])}
            equal(ranges.get(API_VERSIONS), (0, 5), "what ApiVersions can")


def an_unknown_api_or_version_closes_the_connection(at):
    for key, version in ((999, 0), (METADATA, 99), (wire.PRODUCE, 2), (wire.FETCH, 3), (4, 0), (52, 0)):
        with at.peer() as peer:
            peer.send(key, version, b"\0" * 16)
            equal(peer.receive(), None, f"the answer to key {key} in version {version}")


def a_flexible_request_may_come_from_nobody(at):
    for client in (None, b""):
        with at.peer() as peer:
            peer.send(METADATA, 9, b"\x01" + b"\0\0\0" + b"\0", client=client, tags=b"\0")
            correlation, answer = peer.receive()
            equal((correlation, len(answer) > 20), (1, True), "an answer")


def acks_0_is_not_answered_and_what_follows_is(at):
    topic = at.topic("acks-0")
    with at.peer() as peer:
        peer.produce(topic, 0, at.batch(), acks=0)
        asked = peer.send(API_VERSIONS, 0, b"")
        equal(peer.receive()[0], asked, "the request that is answered")
    # A broker may show records only once they are on the disk, which nobody here was told.
    until_equal(lambda: at.values(topic), [b"0", b"1", b"2"], "values")


def an_error_at_acks_0_closes_the_connection(at):
    with at.peer() as peer:
        peer.produce("nothing-there", 0, at.batch(), acks=0)
        peer.send(API_VERSIONS, 0, b"")
        equal(peer.receive(), None, "the answer")


def pipelined_produces_keep_their_order(at):
    topic = at.topic("pipelined")
    with at.peer() as peer:
        for first in range(0, 30, 3):
            peer.send_produce(topic, 0, at.batch(first=first))
        equal([peer.produced(topic) for _ in range(10)], list(range(0, 30, 3)), "base offsets")
    equal(at.values(topic), [str(number).encode() for number in range(30)], "values")


def the_controller_is_a_broker_at_the_address_that_was_asked(at):
    told = at.raw("METADATA", 12, questions.metadata([]))
    controller, = (broker for broker in told["brokers"] if broker["nodeId"] == told["controllerId"])
    equal(f"{controller['host']}:{controller['port']}", at.broker.address, "its address")
    check(told["clusterId"], "no cluster id")


def a_batch_that_comes_again_gets_its_first_offset_and_is_stored_once(at):
    topic = at.topic("again")
    producer, epoch = at.producer()
    with at.peer() as peer:
        sent = [at.batch(first=sequence, producer=(producer, epoch, sequence)) for sequence in range(0, 15, 3)]
        offsets = [peer.produce(topic, 0, data) for data in sent]
        equal(offsets, [0, 3, 6, 9, 12], "offsets")
        equal([peer.produce(topic, 0, data) for data in sent], offsets, "offsets of the same five batches")
    equal(len(at.values(topic)), 15, "records")


def refused(code, attempt):
    try:
        told = attempt()
    except wire.Refusal as refusal:
        equal(refusal.code, code, "error")
    else:
        check(False, "it was taken:", told)


def a_gap_in_the_sequence_is_refused_and_what_fits_is_taken(at):
    topic = at.topic("gap")
    producer, epoch = at.producer()
    with at.peer() as peer:
        equal(peer.produce(topic, 0, at.batch(producer=(producer, epoch, 0))), 0, "offset")
        refused(45, lambda: peer.produce(topic, 0, at.batch(producer=(producer, epoch, 9))))
        equal(peer.produce(topic, 0, at.batch(producer=(producer, epoch, 3))), 3, "offset")


def an_older_epoch_is_refused(at):
    topic = at.topic("epoch")
    producer, epoch = at.producer()
    with at.peer() as peer:
        equal(peer.produce(topic, 0, at.batch(producer=(producer, epoch + 1, 0))), 0, "offset")
        refused(47, lambda: peer.produce(topic, 0, at.batch(producer=(producer, epoch, 3))))


def a_sequence_wraps_to_0(at):
    topic = at.topic("wrap")
    producer, epoch = at.producer()
    with at.peer() as peer:
        equal(peer.produce(topic, 0, at.batch(2, producer=(producer, epoch, 2**31 - 2))), 0, "offset")
        equal(peer.produce(topic, 0, at.batch(2, producer=(producer, epoch, 0))), 2, "offset after the wrap")


def a_producer_that_nobody_remembers_may_go_on_where_it_was(at):
    topic = at.topic("forgotten")
    producer, epoch = at.producer()
    with at.peer() as peer:
        equal(peer.produce(topic, 0, at.batch(producer=(producer, epoch, 77))), 0, "offset")
        equal(peer.produce(topic, 0, at.batch(producer=(producer, epoch, 80))), 3, "offset")


def a_batch_whose_answer_did_not_come_in_time_may_come_again(at):
    topic = at.topic("timed-out")
    producer, epoch = at.producer()
    with at.peer() as peer:
        for sequence in range(0, 30, 3):
            data = at.batch(first=sequence, producer=(producer, epoch, sequence))
            try:
                peer.produce(topic, 0, data, timeout_ms=0)
            except wire.Refusal as late:
                equal(late.code, 7, "error")
            equal(peer.produce(topic, 0, data), sequence, "the offset")
    equal(at.values(topic), [str(number).encode() for number in range(30)], "values")


def several_partitions_of_a_topic_get_one_answer(at):
    topic = at.topic("several", 3)
    request = questions.produce(topic, at.batch()) | {}
    request["topicData"][0]["topicId"] = at.topic_id(topic)
    data = request["topicData"][0]["partitionData"][0]["records"]
    request["topicData"][0]["partitionData"] = [{"index": index, "records": data} for index in (2, 0, 1)]
    for version in (9, 13):
        told, = at.raw("PRODUCE", version, request)["responses"]
        equal(sorted((one["index"], one["errorCode"]) for one in told["partitionResponses"]), [(0, 0), (1, 0), (2, 0)], "answers")


def times_may_be_long_ago_but_not_far_ahead(at):
    topic = at.topic("times", configs={"retention.ms": "-1"})
    with at.peer() as peer:
        peer.produce(topic, 0, wire.batch([(0, b"k", b"epoch", []), (1, b"k", b"after", [])]))
        ahead = int(time.time() * 1000) + 7_200_000
        refused(32, lambda: peer.produce(topic, 0, wire.batch([(ahead, b"k", b"v", [])])))
    equal([record[1] for batch in wire.log_of(at.broker.address, topic) for record in batch.records], [0, 1], "times")


def log_append_time_is_told_and_stamped(at):
    topic = at.topic("append-time", configs={"message.timestamp.type": "LogAppendTime"})
    request = questions.produce(topic, at.batch())
    request["topicData"][0]["topicId"] = at.topic_id(topic)
    told = at.raw("PRODUCE", 9, request)["responses"][0]["partitionResponses"][0]
    equal(told["errorCode"], 0, "error")
    check(abs(told["logAppendTimeMs"] - time.time() * 1000) < 60_000, "log append time", told["logAppendTimeMs"])
    batch, = wire.log_of(at.broker.address, topic)
    check(batch.sound and batch.attributes & 8, "the batch is not flagged")
    equal(batch.max_time, told["logAppendTimeMs"], "its time")
    equal(at.offset_of(topic, -3), 0, "the offset of the greatest time")


def a_fetch_in_a_batch_gives_the_whole_batch(at):
    topic = at.topic("inside")
    with at.peer() as peer:
        for first in (0, 10):
            peer.produce(topic, 0, at.batch(10, first))
        for offset in range(20):
            data, _ = peer.fetch(topic, 0, offset)
            equal(next(wire.batches(data)).offset, offset // 10 * 10, f"the batch for offset {offset}")


def nothing_to_read_is_no_bytes_and_not_null(at):
    topic = at.topic("nothing")
    told = at.fetch(12, [(topic, 0, 0)])["responses"][0]["partitions"][0]
    equal((told["errorCode"], told["recordsSizeInBytes"]), (0, 0), "error and size")
    with at.peer() as peer:
        equal(peer.fetch(topic, 0, 0), (b"", 0), "records and high watermark")


def the_end_waits_and_what_lies_beyond_is_out_of_range(at):
    topic = at.topic("ends")
    with at.peer() as peer:
        peer.produce(topic, 0, at.batch(5))
        equal(at.raw("DELETE_RECORDS", 2, {"topics": [{"name": topic, "partitions": [{"partitionIndex": 0, "offset": 2}]}], "timeoutMs": 30_000})
              ["topics"][0]["partitions"][0]["lowWatermark"], 2, "low watermark")
        began = time.monotonic()
        equal(peer.fetch(topic, 0, 5, wait_ms=400)[0], b"", "records at the end")
        check(time.monotonic() - began > 0.35, "it did not wait")
        began = time.monotonic()
        for offset in (6, 1, -1):
            refused(1, lambda: peer.fetch(topic, 0, offset, wait_ms=LONG_MS))
        check(time.monotonic() - began < AT_ONCE_S, "an error waited")


def a_waiting_fetch_wakes_for_new_records(at):
    topic = at.topic("wakes")
    with at.peer() as reader, at.peer() as writer:
        name = topic.encode()
        began = time.monotonic()
        reader.send(wire.FETCH, 4, struct.pack(">iiiibi", -1, LONG_MS, 1, 1 << 20, 0, 1) + struct.pack(">h", len(name)) + name
                    + struct.pack(">iiqi", 1, 0, 0, 1 << 20))
        time.sleep(0.2)
        writer.produce(topic, 0, at.batch())
        _, answer = reader.receive()
        check(len(answer) > 100, "no records in", len(answer), "bytes")
        check(time.monotonic() - began < AT_ONCE_S, "it waited to its end")


def the_first_batch_comes_whole_and_limits_hold_for_what_follows(at):
    topic = at.topic("limits", 2)
    with at.peer() as peer:
        for partition in (0, 1):
            for first in range(0, 30, 10):
                peer.produce(topic, partition, at.batch(10, first))
    told = at.fetch(12, [(topic, 0, 0)], maxBytes=10)["responses"][0]["partitions"][0]["recordsSizeInBytes"]
    equal(told, len(at.batch(10)), "bytes")
    topics = [{"topic": topic, "topicId": at.topic_id(topic), "partitions": [{
        "partition": partition, "currentLeaderEpoch": -1, "fetchOffset": 0, "lastFetchedEpoch": -1, "logStartOffset": -1,
        "partitionMaxBytes": 1 << 20} for partition in (0, 1)]}]
    told, = at.raw("FETCH", 12, questions.fetch(topic, 0) | {"topics": topics, "maxBytes": 10})["responses"]
    sizes = [one["recordsSizeInBytes"] for one in told["partitions"]]
    equal((sizes[0], sizes[1]), (len(at.batch(10)), 0), "bytes of both partitions")


def a_topic_stands_in_an_answer_once(at):
    topic, other = at.topic("once", 20), at.topic("once-too", 20)
    with at.peer() as peer:
        for name in (topic, other):
            for partition in range(0, 20, 3):
                peer.produce(name, partition, at.batch())
    topics = [{"topic": name, "topicId": at.topic_id(name), "partitions": [{
        "partition": partition, "currentLeaderEpoch": -1, "fetchOffset": 0 if partition < 15 else 99, "lastFetchedEpoch": -1,
        "logStartOffset": -1, "partitionMaxBytes": 1 << 20} for partition in range(20)]} for name in (topic, other)]
    for version, key in ((12, "topic"), (17, "topicId")):
        told = at.raw("FETCH", version, questions.fetch(questions.MISSING, 0) | {"topics": topics})["responses"]
        equal([one[key] for one in told], [one[key] for one in topics], f"topics of the answer in version {version}")
        equal([len(one["partitions"]) for one in told], [20, 20], "their partitions")


def the_id_of_a_topic_that_was_made_again_is_unknown(at):
    topic = at.topic("made-again")
    old = at.topic_id(topic)
    request = questions.fetch(questions.MISSING, 0)
    request["topics"][0]["topicId"] = old
    equal(at.raw("FETCH", 13, request)["responses"][0]["partitions"][0]["errorCode"], 0, "error before")
    at.raw("DELETE_TOPICS", 5, {"topics": [], "topicNames": [topic], "timeoutMs": 30_000})
    until(lambda: _is_made(at, topic), "it cannot be made again")
    # Kafka makes it before every part of it has heard that the old one is gone.
    until(lambda: at.topic_id(topic) not in (old, questions.NO_ID), "it has the old id")
    equal(at.raw("FETCH", 13, request)["responses"][0]["partitions"][0]["errorCode"], 100, "error after")


def _is_made(at, topic):
    try:
        at.topic(topic)
    except wire.Refusal as refusal:
        equal(refusal.code, EXISTS, "error")
        return False
    return True


def a_time_finds_the_record_in_a_compressed_batch(at):
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        topic = at.topic(f"time-{codec}")
        at.driver.ask("produce", topic=topic, codec=codec,
                      records=[{"p": 0, "k": "", "v": "YWFhYWFhYWFhYWFhYWFhYQ==", "t": at.now + number * 10} for number in range(100)])
        for moment, offset in ((at.now + 555, 56), (at.now, 0), (at.now + 990, 99), (at.now + 991, -1)):
            equal(at.offset_of(topic, moment), offset, f"{codec}: the offset of {moment - at.now}")
        equal(at.offset_of(topic, -3), 99, f"{codec}: the offset of the greatest time")


def times_need_not_rise(at):
    topic = at.topic("times-mixed")
    with at.peer() as peer:
        for times in ((10, 30), (20, 40), (5, 6)):
            peer.produce(topic, 0, wire.batch([(at.now + moment, b"k", b"v", []) for moment in times]))
    for moment, offset in ((25, 1), (35, 3), (5, 0), (40, 3), (41, -1)):
        equal(at.offset_of(topic, at.now + moment), offset, f"the offset of {moment}")
    equal(at.offset_of(topic, -3), 3, "the offset of the greatest time")


def an_empty_or_emptied_log_has_no_offset_for_a_time(at):
    topic = at.topic("emptied")
    equal(at.offset_of(topic, at.now), -1, "the offset of a time in an empty log")
    with at.peer() as peer:
        peer.produce(topic, 0, at.batch(5))
    told = at.raw("DELETE_RECORDS", 2, {"topics": [{"name": topic, "partitions": [{"partitionIndex": 0, "offset": -1}]}], "timeoutMs": 30_000})
    equal(told["topics"][0]["partitions"][0], {"partitionIndex": 0, "lowWatermark": 5, "errorCode": 0}, "the answer to deleting all")
    equal([at.offset_of(topic, moment) for moment in (-2, -1, at.now)], [5, 5, -1], "offsets of an emptied log")
    told = at.raw("DELETE_RECORDS", 2, {"topics": [{"name": topic, "partitions": [{"partitionIndex": 0, "offset": 6}]}], "timeoutMs": 30_000})
    equal(told["topics"][0]["partitions"][0], {"partitionIndex": 0, "lowWatermark": -1, "errorCode": 1}, "the answer past the end")


def neither_an_epoch_nor_the_log_ends_below_what_was_read(at):
    topic = at.topic("epoch-end")
    request = {"replicaId": -1, "topics": [{"topic": topic, "partitions": [{"partition": 0, "currentLeaderEpoch": -1, "leaderEpoch": 0}]}]}
    with at.peer() as writer, at.peer() as reader:
        for number in range(40):
            # Nobody waits for the answer: what is not safe yet must neither be read nor counted.
            writer.send_produce(topic, 0, at.batch(first=number * 3), acks=1)
            data, high = reader.fetch(topic, 0, 0)
            read = sum(batch.count for batch in wire.batches(data))
            told = at.raw("OFFSET_FOR_LEADER_EPOCH", 4, request)["topics"][0]["partitions"][0]
            check(told["endOffset"] >= high >= read, "epoch 0 ends at", told["endOffset"], "after", read, "were read of", high)
            check(at.offset_of(topic, -1) >= high, "the end is below the high watermark", high)
        for _ in range(40):
            writer.produced(topic)


def without_transactions_both_isolations_end_at_the_same_offset(at):
    topic = at.topic("isolation")
    with at.peer() as peer:
        peer.produce(topic, 0, at.batch(5))
    equal([at.offset_of(topic, -1, isolation=level) for level in (0, 1)], [5, 5], "latest offsets")


def altering_replaces_and_incrementally_it_adds(at):
    topic = at.topic("altered", configs={"retention.ms": "5000000", "max.message.bytes": "5000"})

    def set_to(api, version, *configs):
        told = at.raw(api, version, questions.alter(questions.TOPIC, topic, *configs) | {"validateOnly": False})
        equal([one["errorCode"] for one in told["responses"]], [0], "error")

    def found():
        told = at.raw("DESCRIBE_CONFIGS", 4, questions.describe(questions.TOPIC, topic))["results"][0]["configs"]
        return {one["name"]: one["value"] for one in told if one["configSource"] == 1}

    def overridden(expected):
        until_equal(found, expected, "what the topic overrides")

    set_to("INCREMENTAL_ALTER_CONFIGS", 1, ("cleanup.policy", questions.APPEND, "compact"), ("max.message.bytes", questions.DELETE, None))
    overridden({"retention.ms": "5000000", "cleanup.policy": "delete,compact"})
    set_to("INCREMENTAL_ALTER_CONFIGS", 1, ("cleanup.policy", questions.SUBTRACT, "delete"))
    overridden({"retention.ms": "5000000", "cleanup.policy": "compact"})
    set_to("ALTER_CONFIGS", 2, ("segment.ms", questions.SET, "7000"))
    overridden({"segment.ms": "7000"})


def a_topic_is_made_for_who_asks_for_it_by_name_and_allows_it(at):
    def asked(name, create):
        return at.raw("METADATA", 12, questions.metadata(questions.by_name(name), create))["topics"][0]

    equal(asked("not-asked-for", False)["errorCode"], 3, "error")
    equal(asked("not-asked-for", False)["errorCode"], 3, "error the second time")
    until(lambda: not asked("asked-for", True)["errorCode"], "it is not made")
    equal(len(asked("asked-for", False)["partitions"]), 1, "partitions")
    equal(asked("not/possible", True)["errorCode"], 17, "error of a name that cannot be")


ALL = [
    a_version_of_api_versions_that_nobody_knows_is_answered_in_version_0,
    an_unknown_api_or_version_closes_the_connection,
    a_flexible_request_may_come_from_nobody,
    acks_0_is_not_answered_and_what_follows_is,
    an_error_at_acks_0_closes_the_connection,
    pipelined_produces_keep_their_order,
    the_controller_is_a_broker_at_the_address_that_was_asked,
    a_batch_that_comes_again_gets_its_first_offset_and_is_stored_once,
    a_gap_in_the_sequence_is_refused_and_what_fits_is_taken,
    an_older_epoch_is_refused,
    a_sequence_wraps_to_0,
    a_producer_that_nobody_remembers_may_go_on_where_it_was,
    a_batch_whose_answer_did_not_come_in_time_may_come_again,
    several_partitions_of_a_topic_get_one_answer,
    times_may_be_long_ago_but_not_far_ahead,
    log_append_time_is_told_and_stamped,
    a_fetch_in_a_batch_gives_the_whole_batch,
    nothing_to_read_is_no_bytes_and_not_null,
    the_end_waits_and_what_lies_beyond_is_out_of_range,
    a_waiting_fetch_wakes_for_new_records,
    the_first_batch_comes_whole_and_limits_hold_for_what_follows,
    a_topic_stands_in_an_answer_once,
    *sessions.ALL,
    the_id_of_a_topic_that_was_made_again_is_unknown,
    a_time_finds_the_record_in_a_compressed_batch,
    times_need_not_rise,
    an_empty_or_emptied_log_has_no_offset_for_a_time,
    neither_an_epoch_nor_the_log_ends_below_what_was_read,
    without_transactions_both_isolations_end_at_the_same_offset,
    altering_replaces_and_incrementally_it_adds,
    a_topic_is_made_for_who_asks_for_it_by_name_and_allows_it,
]
