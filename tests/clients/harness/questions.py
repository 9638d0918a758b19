"""The requests whose answers are compared, in every version that Kafka 4.4 advertises.

A request holds the fields of all versions; Kafka's classes take those that the version has.
"""

import base64
import time
from dataclasses import dataclass

from . import wire

TOPICS = [
    ("same", 2, {"retention.ms": "86400000"}),
    ("same-empty", 1, {}),
    ("same-small", 1, {"max.message.bytes": "1000"}),
    ("same-compacted", 1, {"cleanup.policy": "compact"}),
    ("same-append", 1, {"message.timestamp.type": "LogAppendTime"}),
    ("same-numbered", 1, {}),
    ("same-flagged", 1, {}),
    ("same-unpacked", 1, {"max.decompressed.message.bytes": "100"}),
]
# Topic, number of the first record, how many.
BATCHES = [("same", 0, 5), ("same", 5, 5), ("same", 10, 5)]
MISSING = "missing"
# What differs between any two brokers, or any two moments.
LEFT_OUT = {"throttleTimeMs", "clusterId", "host", "port", "sessionId", "logDir", "usableBytes", "totalBytes", "controllerId", "finalizedFeaturesEpoch"}
NOBODY = -1
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
# A producer id that somebody may have been given.
NUMBERED = 7
# What is older than a topic retains may be gone at any moment.
RECENT = int(time.time() * 1000) - 60_000


@dataclass(frozen=True)
class Moment:
    """A time in seconds after the first record's."""

    seconds: int


def metadata(topics, create=False):
    """Before version 4 a request cannot forbid the creation of a topic: then `create` has to be true."""
    return {"topics": topics, "allowAutoTopicCreation": create, "includeClusterAuthorizedOperations": False,
            "includeTopicAuthorizedOperations": False}


def by_name(*names):
    return [{"topicId": NO_ID, "name": name} for name in names]


def fetch(topic, offset, partition=0, epoch=NOBODY, **others):
    return {"clusterId": None, "replicaId": NOBODY, "maxWaitMs": 0, "minBytes": 1, "maxBytes": 1 << 20, "isolationLevel": 0, "sessionId": 0,
            "sessionEpoch": NOBODY, "topics": [{"topic": topic, "topicId": "id of " + topic if topic != MISSING else UNKNOWN_ID, "partitions": [{
                "partition": partition, "currentLeaderEpoch": epoch, "fetchOffset": offset, "lastFetchedEpoch": NOBODY,
                "logStartOffset": NOBODY, "partitionMaxBytes": 1 << 20}]}],
            "forgottenTopicsData": [], "rackId": ""} | others


UNKNOWN_ID = base64.urlsafe_b64encode(bytes(range(1, 17))).decode().rstrip("=")


def list_offsets(topic, *times, partition=0, epoch=NOBODY):
    return {"replicaId": NOBODY, "isolationLevel": 0, "timeoutMs": 30_000, "topics": [{"name": topic, "partitions": [
        {"partitionIndex": partition, "currentLeaderEpoch": epoch, "timestamp": time} for time in times]}]}


def produce(topic, records, acks=NOBODY, partition=0):
    return {"transactionalId": None, "acks": acks, "timeoutMs": 30_000, "topicData": [{
        "name": topic, "topicId": "id of " + topic if topic != MISSING else UNKNOWN_ID,
        "partitionData": [{"index": partition, "records": base64.b64encode(records).decode()}]}]}


def create(*topics, validate=True):
    return {"topics": list(topics), "timeoutMs": 30_000, "validateOnly": validate}


def topic(name, partitions=1, replicas=1, configs=(), assignments=()):
    return {"name": name, "numPartitions": partitions, "replicationFactor": replicas, "assignments": list(assignments),
            "configs": [{"name": key, "value": value} for key, value in configs]}


def describe(kind, name, keys=None):
    return {"resources": [{"resourceType": kind, "resourceName": name, "configurationKeys": keys}], "includeSynonyms": True,
            "includeDocumentation": False}


def alter(kind, name, *configs):
    return {"resources": [{"resourceType": kind, "resourceName": name, "configs": [
        {"name": key, "configOperation": operation, "value": value} for key, operation, value in configs]}], "validateOnly": True}


def batch(**changes):
    made = bytearray(wire.batch([(RECENT + at, b"k", b"v", []) for at in range(3)], changes.get("producer", (-1, -1, -1)),
                                changes.get("attributes", 0)))
    for at, byte in changes.get("bytes", {}).items():
        made[at] = byte
    return bytes(made)


def _versions(first, last):
    return range(first, last + 1)


METADATA, FETCH, LIST, PRODUCE = _versions(0, 13), _versions(4, 18), _versions(1, 11), _versions(3, 13)
CREATE, GROW, CONFIGS = _versions(2, 7), _versions(0, 3), _versions(1, 4)
TOPIC, BROKER = 2, 4
SET, DELETE, APPEND, SUBTRACT = range(4)

# API, what is asked, versions, request.
ALL = [
    ("API_VERSIONS", "the_whole_table", _versions(0, 5),
     {"clientSoftwareName": "suite", "clientSoftwareVersion": "1", "clusterId": None, "nodeId": NOBODY}),
    ("API_VERSIONS", "a_client_name_that_cannot_be", _versions(3, 5),
     {"clientSoftwareName": "-suite-", "clientSoftwareVersion": "1", "clusterId": None, "nodeId": NOBODY}),

    ("METADATA", "a_topic", METADATA, metadata(by_name("same"), create=True)),
    ("METADATA", "no_topics", _versions(1, 13), metadata([], create=True)),
    ("METADATA", "an_unknown_topic", _versions(4, 13), metadata(by_name(MISSING))),
    ("METADATA", "a_name_that_cannot_be", METADATA, metadata(by_name("a/b"), create=True)),
    ("METADATA", "a_topic_by_its_id", _versions(12, 13), metadata([{"topicId": "id of same", "name": None}])),
    ("METADATA", "an_unknown_id", _versions(12, 13), metadata([{"topicId": UNKNOWN_ID, "name": None}])),

    ("PRODUCE", "a_batch_at_acks_2", PRODUCE, produce("same-empty", batch(), acks=2)),
    ("PRODUCE", "an_unknown_topic", PRODUCE, produce(MISSING, batch())),
    ("PRODUCE", "a_partition_that_is_not_there", PRODUCE, produce("same-empty", batch(), partition=7)),
    ("PRODUCE", "a_negative_partition", PRODUCE, produce("same-empty", batch(), partition=-3)),
    ("PRODUCE", "a_broken_checksum", PRODUCE, produce("same-empty", batch(bytes={80: 9}))),
    ("PRODUCE", "two_batches_in_one_partition", PRODUCE, produce("same-empty", batch() + batch())),
    ("PRODUCE", "a_batch_of_magic_1", PRODUCE, produce("same-empty", batch(bytes={16: 1}))),
    ("PRODUCE", "a_batch_above_the_limit", PRODUCE,
     produce("same-small", wire.batch([(RECENT, b"k", b"v" * 2000, [])]))),
    ("PRODUCE", "a_record_without_a_key_on_a_compacted_topic", PRODUCE,
     produce("same-compacted", wire.batch([(RECENT, b"k", b"v", []), (RECENT, None, b"v", [])]))),
    ("PRODUCE", "a_control_batch", PRODUCE, produce("same-empty", batch(attributes=0x20))),
    ("PRODUCE", "a_sequence_without_a_producer", PRODUCE, produce("same-empty", batch(producer=(-1, 0, 5)))),
    ("PRODUCE", "a_producer_without_a_sequence", PRODUCE, produce("same-empty", batch(producer=(NUMBERED, 0, -1)))),
    ("PRODUCE", "a_batch_that_comes_again", PRODUCE, produce("same-numbered", batch(producer=(NUMBERED, 0, 0)))),
    ("PRODUCE", "a_gap_in_a_sequence", PRODUCE, produce("same-numbered", batch(producer=(NUMBERED, 0, 50)))),
    ("PRODUCE", "times_that_are_out_of_range", PRODUCE,
     produce("same-empty", wire.batch([(RECENT + at * 86_400_000_000, b"k", b"v", []) for at in range(3)]))),
    ("PRODUCE", "a_record_above_the_limit_once_it_is_decompressed", PRODUCE,
     produce("same-unpacked", wire.gzipped(wire.batch([(RECENT, b"k", b"v" * 93, [])])))),
    ("PRODUCE", "a_record_at_that_limit", PRODUCE, produce("same-unpacked", wire.gzipped(wire.batch([(RECENT, b"k", b"v" * 92, [])])))),
    ("PRODUCE", "a_record_above_that_limit_that_was_never_compressed", PRODUCE,
     produce("same-unpacked", wire.batch([(RECENT, b"k", b"v" * 93, [])]))),
    ("PRODUCE", "a_batch_that_gives_itself_the_time_of_appending", PRODUCE, produce("same-flagged", batch(attributes=8))),
    ("PRODUCE", "the_same_on_a_topic_that_tells_it", PRODUCE, produce("same-append", batch(attributes=8))),

    ("FETCH", "from_the_beginning", FETCH, fetch("same", 0)),
    ("FETCH", "in_the_middle_of_a_batch", FETCH, fetch("same", 7)),
    ("FETCH", "at_the_end", FETCH, fetch("same", 15)),
    ("FETCH", "an_empty_partition", FETCH, fetch("same-empty", 0)),
    ("FETCH", "past_the_end", FETCH, fetch("same", 16)),
    ("FETCH", "a_negative_offset", FETCH, fetch("same", -5)),
    ("FETCH", "an_unknown_topic", FETCH, fetch(MISSING, 0)),
    ("FETCH", "a_partition_that_is_not_there", FETCH, fetch("same", 0, partition=9)),
    ("FETCH", "a_negative_partition", FETCH, fetch("same", 0, partition=-1)),
    ("FETCH", "a_limit_below_the_first_batch", FETCH, fetch("same", 0, maxBytes=1)),
    ("FETCH", "a_rack_without_a_replica", _versions(11, 18), fetch("same", 0, rackId="somewhere")),
    ("FETCH", "an_epoch_to_come", _versions(9, 18), fetch("same", 0, epoch=99)),
    ("FETCH", "a_session_that_is_not_there", _versions(7, 18), fetch("same", 0, sessionId=12345, sessionEpoch=5)),
    ("FETCH", "a_session_that_begins", _versions(7, 18), fetch("same", 0, sessionEpoch=0)),

    ("LIST_OFFSETS", "the_latest", LIST, list_offsets("same", -1)),
    ("LIST_OFFSETS", "the_earliest", LIST, list_offsets("same", -2)),
    ("LIST_OFFSETS", "the_greatest_time", _versions(7, 11), list_offsets("same", -3)),
    ("LIST_OFFSETS", "the_earliest_local", _versions(8, 11), list_offsets("same", -4)),
    ("LIST_OFFSETS", "the_latest_tiered", _versions(9, 11), list_offsets("same", -5)),
    ("LIST_OFFSETS", "the_earliest_to_upload", _versions(11, 11), list_offsets("same", -6)),
    ("LIST_OFFSETS", "a_special_time_that_its_version_does_not_know", LIST, list_offsets("same", -9)),
    ("LIST_OFFSETS", "a_time_in_a_batch", LIST, list_offsets("same", Moment(7))),
    ("LIST_OFFSETS", "a_time_after_the_end", LIST, list_offsets("same", Moment(500))),
    ("LIST_OFFSETS", "an_empty_partition", LIST, list_offsets("same-empty", Moment(0))),
    ("LIST_OFFSETS", "the_greatest_time_of_an_empty_partition", _versions(7, 11), list_offsets("same-empty", -3)),
    ("LIST_OFFSETS", "an_unknown_topic", LIST, list_offsets(MISSING, -1)),
    ("LIST_OFFSETS", "a_partition_that_is_not_there", LIST, list_offsets("same", -1, partition=9)),
    ("LIST_OFFSETS", "an_epoch_to_come", _versions(4, 11), list_offsets("same", -1, epoch=99)),
    ("LIST_OFFSETS", "one_partition_twice", LIST, list_offsets("same", -1, -2)),

    ("OFFSET_FOR_LEADER_EPOCH", "now_and_to_come", _versions(2, 4), {"replicaId": NOBODY, "topics": [
        {"topic": "same", "partitions": [{"partition": 0, "currentLeaderEpoch": NOBODY, "leaderEpoch": 0}]},
        {"topic": "same-empty", "partitions": [{"partition": 0, "currentLeaderEpoch": NOBODY, "leaderEpoch": 99}]},
        {"topic": MISSING, "partitions": [{"partition": 0, "currentLeaderEpoch": NOBODY, "leaderEpoch": 0}]}]}),

    ("CREATE_TOPICS", "a_topic", CREATE, create(topic("new", 3, configs=[("retention.ms", "1000")]))),
    ("CREATE_TOPICS", "defaults", _versions(4, 7), create(topic("new", -1, -1))),
    ("CREATE_TOPICS", "what_exists", CREATE, create(topic("same"))),
    ("CREATE_TOPICS", "a_name_that_cannot_be", CREATE, create(topic("a/b"), topic(".."), topic("x" * 250), topic(""))),
    ("CREATE_TOPICS", "no_partitions", CREATE, create(topic("new", 0))),
    ("CREATE_TOPICS", "too_many_replicas", CREATE, create(topic("new", 1, 3))),
    ("CREATE_TOPICS", "no_replicas", CREATE, create(topic("new", 1, 0))),
    ("CREATE_TOPICS", "an_unknown_key", CREATE, create(topic("new", configs=[("no.such", "1")]))),
    ("CREATE_TOPICS", "a_value_that_cannot_be", CREATE, create(topic("new", configs=[("retention.ms", "soon")]))),
    ("CREATE_TOPICS", "a_key_without_a_value", CREATE, create(topic("new", configs=[("retention.ms", None)]))),
    ("CREATE_TOPICS", "a_topic_twice", CREATE, create(topic("new"), topic("new"))),
    ("CREATE_TOPICS", "an_assignment_to_nobody", CREATE,
     create(topic("new", -1, -1, assignments=[{"partitionIndex": 0, "brokerIds": [77]}]))),

    ("DELETE_TOPICS", "what_is_not_there", _versions(1, 5), {"topics": [], "topicNames": [MISSING], "timeoutMs": 30_000}),
    ("DELETE_TOPICS", "a_name_that_is_not_there", _versions(6, 6), {"topics": by_name(MISSING), "topicNames": [], "timeoutMs": 30_000}),
    ("DELETE_TOPICS", "an_unknown_id", _versions(6, 6), {"topics": [{"name": None, "topicId": UNKNOWN_ID}], "topicNames": [], "timeoutMs": 30_000}),

    ("CREATE_PARTITIONS", "more", GROW, {"topics": [{"name": "same", "count": 3, "assignments": None}], "timeoutMs": 30_000, "validateOnly": True}),
    ("CREATE_PARTITIONS", "as_many", GROW, {"topics": [{"name": "same", "count": 2, "assignments": None}], "timeoutMs": 30_000, "validateOnly": True}),
    ("CREATE_PARTITIONS", "fewer", GROW, {"topics": [{"name": "same", "count": 1, "assignments": None}], "timeoutMs": 30_000, "validateOnly": True}),
    ("CREATE_PARTITIONS", "of_nothing", GROW, {"topics": [{"name": MISSING, "count": 2, "assignments": None}], "timeoutMs": 30_000, "validateOnly": True}),

    ("DELETE_RECORDS", "past_the_end", _versions(0, 2),
     {"topics": [{"name": "same", "partitions": [{"partitionIndex": 0, "offset": 99}]}], "timeoutMs": 30_000}),
    ("DELETE_RECORDS", "at_a_negative_offset", _versions(0, 2),
     {"topics": [{"name": "same", "partitions": [{"partitionIndex": 0, "offset": -2}]}], "timeoutMs": 30_000}),
    ("DELETE_RECORDS", "of_nothing", _versions(0, 2),
     {"topics": [{"name": MISSING, "partitions": [{"partitionIndex": 0, "offset": 1}]}], "timeoutMs": 30_000}),

    ("DESCRIBE_CONFIGS", "a_topic", CONFIGS, describe(TOPIC, "same")),
    ("DESCRIBE_CONFIGS", "some_keys", CONFIGS, describe(TOPIC, "same", ["retention.ms", "no.such"])),
    ("DESCRIBE_CONFIGS", "an_unknown_topic", CONFIGS, describe(TOPIC, MISSING)),
    ("DESCRIBE_CONFIGS", "a_name_that_cannot_be", CONFIGS, describe(TOPIC, "a/b")),
    ("DESCRIBE_CONFIGS", "an_unknown_kind", CONFIGS, describe(99, "x")),
    ("DESCRIBE_CONFIGS", "a_broker_that_is_not_there", CONFIGS, describe(BROKER, "77")),
    ("DESCRIBE_CONFIGS", "a_broker_without_a_number", CONFIGS, describe(BROKER, "x")),

    ("ALTER_CONFIGS", "a_value", _versions(0, 2), alter(TOPIC, "same", ("retention.ms", SET, "5000"))),
    ("ALTER_CONFIGS", "a_value_that_cannot_be", _versions(0, 2), alter(TOPIC, "same", ("retention.ms", SET, "soon"))),
    ("ALTER_CONFIGS", "an_unknown_key", _versions(0, 2), alter(TOPIC, "same", ("no.such", SET, "1"))),
    ("ALTER_CONFIGS", "an_unknown_topic", _versions(0, 2), alter(TOPIC, MISSING, ("retention.ms", SET, "5000"))),
    ("INCREMENTAL_ALTER_CONFIGS", "a_value", _versions(0, 1), alter(TOPIC, "same", ("retention.ms", SET, "5000"))),
    ("INCREMENTAL_ALTER_CONFIGS", "a_value_that_cannot_be", _versions(0, 1), alter(TOPIC, "same", ("cleanup.policy", SET, "burn"))),
    ("INCREMENTAL_ALTER_CONFIGS", "an_unknown_key", _versions(0, 1), alter(TOPIC, "same", ("no.such", SET, "1"))),
    ("INCREMENTAL_ALTER_CONFIGS", "an_unknown_topic", _versions(0, 1), alter(TOPIC, MISSING, ("retention.ms", SET, "1"))),
    ("INCREMENTAL_ALTER_CONFIGS", "a_list_that_grows", _versions(0, 1), alter(TOPIC, "same", ("cleanup.policy", APPEND, "compact"))),
    ("INCREMENTAL_ALTER_CONFIGS", "a_number_that_grows", _versions(0, 1), alter(TOPIC, "same", ("retention.ms", APPEND, "1"))),
    ("INCREMENTAL_ALTER_CONFIGS", "a_key_twice", _versions(0, 1), alter(TOPIC, "same", ("retention.ms", SET, "1"), ("retention.ms", DELETE, None))),
    ("INCREMENTAL_ALTER_CONFIGS", "an_operation_that_is_none", _versions(0, 1), alter(TOPIC, "same", ("retention.ms", 9, "1"))),

    ("DESCRIBE_CLUSTER", "brokers", _versions(0, 2),
     {"includeClusterAuthorizedOperations": False, "endpointType": 1, "includeFencedBrokers": False}),
    ("DESCRIBE_TOPIC_PARTITIONS", "two_topics", _versions(0, 0),
     {"topics": [{"name": "same"}, {"name": MISSING}], "responsePartitionLimit": 2000, "cursor": None}),
    ("DESCRIBE_TOPIC_PARTITIONS", "a_page", _versions(0, 0), {"topics": [{"name": "same"}], "responsePartitionLimit": 1, "cursor": None}),
    ("DESCRIBE_LOG_DIRS", "a_topic", _versions(1, 5), {"topics": [{"topic": "same", "partitions": [0]}]}),
    ("DESCRIBE_LOG_DIRS", "an_unknown_topic", _versions(1, 5), {"topics": [{"topic": MISSING, "partitions": [0]}]}),
    ("DESCRIBE_PRODUCERS", "of_a_partition", _versions(0, 0), {"topics": [{"name": "same", "partitionIndexes": [0, 9]}]}),
    ("DESCRIBE_PRODUCERS", "of_nothing", _versions(0, 0), {"topics": [{"name": MISSING, "partitionIndexes": [0]}]}),
    ("ELECT_LEADERS", "what_is_elected", _versions(0, 2),
     {"electionType": 0, "topicPartitions": [{"topic": "same", "partitions": [0]}, {"topic": MISSING, "partitions": [0]}], "timeoutMs": 30_000}),
    ("LIST_PARTITION_REASSIGNMENTS", "all", _versions(0, 0), {"timeoutMs": 30_000, "topics": None}),
    ("DESCRIBE_QUORUM", "a_partition_that_is_not_the_quorums", _versions(0, 2),
     {"topics": [{"topicName": "same", "partitions": [{"partitionIndex": 0}]}]}),
    ("DESCRIBE_ACLS", "any", _versions(1, 3), {
        "resourceTypeFilter": 1, "resourceNameFilter": None, "patternTypeFilter": 1, "principalFilter": None, "hostFilter": None,
        "operation": 1, "permissionType": 1}),
    ("LIST_CONFIG_RESOURCES", "topics", _versions(1, 1), {"resourceTypes": [2]}),
    ("LIST_CONFIG_RESOURCES", "an_unknown_kind", _versions(1, 1), {"resourceTypes": [99]}),
    ("INIT_PRODUCER_ID", "of_an_epoch_that_nobody_gave", _versions(3, 5),
     {"transactionalId": None, "transactionTimeoutMs": 60000, "producerId": 77, "producerEpoch": -1, "enable2Pc": False, "keepPreparedTxn": False}),
]
