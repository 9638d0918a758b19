"""kafka-python: `kafka_python.py HOST:PORT`."""

import sys
import time

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, KafkaAdminClient
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError

from driving import LIMIT_S, Diary, Refused, data, headers, listener, serve, told

_admin = None


def admin():
    global _admin
    _admin = _admin or KafkaAdminClient(bootstrap_servers=sys.argv[1])
    return _admin


def produce(command):
    acks = command.get("acks", "all")
    codec = command.get("codec", "none")
    made = KafkaProducer(
        bootstrap_servers=sys.argv[1],
        acks=acks if acks == "all" else int(acks),
        compression_type=None if codec == "none" else codec,
        enable_idempotence=command.get("idempotent", False),
        max_request_size=8 << 20,
        linger_ms=20,
    )
    sent = [
        made.send(command["topic"], data(record.get("v")), data(record.get("k")), headers(record), record.get("p"), record.get("t"))
        for record in command["records"]
    ]
    made.flush(LIMIT_S)
    where = [future.get(LIMIT_S) for future in sent]
    made.close()
    return {"offsets": [(one.partition, one.offset) for one in where]}


def transact(command):
    """One record in a transaction."""
    made = KafkaProducer(bootstrap_servers=sys.argv[1], transactional_id=command["id"], max_block_ms=LIMIT_S * 1000)
    made.init_transactions()
    made.begin_transaction()
    made.send(command["topic"], b"in a transaction")
    made.commit_transaction()
    made.close()


def consumer():
    return KafkaConsumer(bootstrap_servers=sys.argv[1], auto_offset_reset="none", enable_auto_commit=False)


def consume(command):
    reader = consumer()
    partition = TopicPartition(command["topic"], command["p"])
    reader.assign([partition])
    source = command["from"]
    if isinstance(source, dict):
        reader.seek(partition, reader.offsets_for_times({partition: source["time"]})[partition].offset)
    elif source == "earliest":
        reader.seek_to_beginning(partition)
    else:
        reader.seek(partition, source)
    records = []
    deadline = time.monotonic() + command.get("limit_ms", LIMIT_S * 1000) / 1000
    while len(records) < command["n"] and time.monotonic() < deadline:
        for batch in reader.poll(200, max_records=command["n"] - len(records)).values():
            records += [told(one.partition, one.offset, one.timestamp, one.key, one.value, one.headers) for one in batch]
    reader.close()
    return {"records": records}


def offsets(command):
    reader = consumer()
    partition = TopicPartition(command["topic"], command["p"])
    answer = {
        "earliest": reader.beginning_offsets([partition])[partition],
        "latest": reader.end_offsets([partition])[partition],
    }
    if "time" in command:
        at = reader.offsets_for_times({partition: command["time"]})[partition]
        answer["at"] = -1 if at is None else at.offset
    reader.close()
    return answer


def join(command):
    """A member of a group until it is told to stop."""
    diary = Diary(command)
    reader = KafkaConsumer(
        bootstrap_servers=sys.argv[1], group_id=command["group"], enable_auto_commit=False, auto_offset_reset="earliest",
        session_timeout_ms=command["session_ms"], heartbeat_interval_ms=1000, fetch_max_wait_ms=100,
        partition_assignment_strategy=[CooperativeStickyAssignor if command["strategy"] == "cooperative" else RangePartitionAssignor],
        group_instance_id=command.get("instance"),
    )
    reader.subscribe([command["topic"]], listener=listener(ConsumerRebalanceListener, diary))
    # Who leads a group before it knows the topic gives nobody anything, and joins again once it does. Where a poll ends while
    # that is under way, kafka-python takes it for done, never asks for what it was given, and sends no heartbeat any more.
    while not reader.partitions_for_topic(command["topic"]) and not diary.is_over():
        time.sleep(0.05)
    while not diary.is_over():
        found = reader.poll(100, max_records=100)
        diary.owns(reader.assignment())
        for batch in found.values():
            for one in batch:
                diary.got(one.partition, one.offset, one.value)
        if found:
            try:
                reader.commit()
                for partition, batch in found.items():
                    diary.say("committed", p=partition.partition, o=batch[-1].offset + 1)
            except KafkaError as error:
                diary.say("failed", why=repr(error))
    reader.close()


def describe(command):
    topic = admin().describe_topics([command["topic"]])[0]
    if topic.get("error_code"):
        raise Refused(topic["error_code"], None)
    return {"partitions": len(topic["partitions"])}


def configs(command):
    found = admin().describe_configs([ConfigResource("TOPIC", command["topic"])], config_filter="all")
    entries = found["topic"][command["topic"]]
    return {"configs": {name: entry["value"] for name, entry in entries.items()}}


def alter(command):
    found = admin().alter_configs([ConfigResource("TOPIC", command["topic"], command["configs"])], raise_on_unknown=False)
    said = found["topic"][command["topic"]]
    if said != "OK":
        # Its answer is a text: "[Error 40] ...".
        raise Refused(int(said.split("]")[0].split()[1]), said)


def truncate(command):
    partition = TopicPartition(command["topic"], command["p"])
    return {"low": admin().delete_records({partition: command["before"]})[partition]["low_watermark"]}


def create(command):
    admin().create_topics({command["topic"]: {
        "num_partitions": command["partitions"], "replication_factor": 1, "configs": command.get("configs", {})}})


def grow(command):
    admin().create_partitions({command["topic"]: command["partitions"]})


def delete(command):
    admin().delete_topics([command["topic"]])


serve({
    "produce": produce,
    "consume": consume,
    "offsets": offsets,
    "transact": transact,
    "join": join,
    "create": create,
    "describe": describe,
    "topics": lambda command: {"topics": list(admin().list_topics())},
    "configs": configs,
    "alter": alter,
    "grow": grow,
    "truncate": truncate,
    "delete": delete,
}, lambda error: getattr(error, "errno", None))
