"""librdkafka through confluent-kafka: `confluent.py HOST:PORT`."""

import os
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, ResourceType

from driving import LIMIT_S, Diary, data, headers, serve, told

BROKER = {"bootstrap.servers": sys.argv[1], "socket.timeout.ms": 30_000}
_admin = None


def admin():
    global _admin
    _admin = _admin or AdminClient(BROKER)
    return _admin


def producer(command):
    return Producer(BROKER | {
        "acks": command.get("acks", "all"),
        "compression.type": command.get("codec", "none"),
        "enable.idempotence": command.get("idempotent", False),
        "partitioner": "murmur2_random",
        "message.max.bytes": 8 << 20,
        "linger.ms": 20,
        "delivery.timeout.ms": command.get("limit_ms", LIMIT_S * 1000),
    })


def produce(command):
    made = producer(command)
    where = [None] * len(command["records"])

    def delivered(at):
        def told(error, message):
            where[at] = error or (message.partition(), message.offset())
        return told

    for at, record in enumerate(command["records"]):
        options = {}
        if record.get("p") is not None:
            options["partition"] = record["p"]
        if record.get("t") is not None:
            options["timestamp"] = record["t"]
        made.produce(command["topic"], data(record.get("v")), data(record.get("k")),
                     headers=headers(record), on_delivery=delivered(at), **options)
        made.poll(0)
    made.flush(LIMIT_S)
    for one in where:
        if one is None:
            raise TimeoutError("not delivered")
        if not isinstance(one, tuple):
            raise KafkaException(one)
    return {"offsets": where}


def transact(command):
    """One record in a transaction."""
    made = Producer(BROKER | {"transactional.id": command["id"]})
    made.init_transactions(LIMIT_S)
    made.begin_transaction()
    made.produce(command["topic"], b"in a transaction")
    made.commit_transaction(LIMIT_S)


def consumer():
    return Consumer(BROKER | {"group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error"})


def consume(command):
    reader = consumer()
    partition = TopicPartition(command["topic"], command["p"])
    source = command["from"]
    if isinstance(source, dict):
        partition.offset = source["time"]
        partition = reader.offsets_for_times([partition], timeout=LIMIT_S)[0]
    else:
        partition.offset = -2 if source == "earliest" else source
    reader.assign([partition])
    records = []
    deadline = time.monotonic() + command.get("limit_ms", LIMIT_S * 1000) / 1000
    while len(records) < command["n"] and time.monotonic() < deadline:
        for message in reader.consume(command["n"] - len(records), timeout=0.2):
            if message.error():
                raise KafkaException(message.error())
            records.append(told(message.partition(), message.offset(), message.timestamp()[1],
                                message.key(), message.value(), message.headers()))
    reader.close()
    return {"records": records}


def offsets(command):
    reader = consumer()
    partition = TopicPartition(command["topic"], command["p"])
    earliest, latest = reader.get_watermark_offsets(partition, timeout=LIMIT_S)
    answer = {"earliest": earliest, "latest": latest}
    if "time" in command:
        partition.offset = command["time"]
        at = reader.offsets_for_times([partition], timeout=LIMIT_S)[0].offset
        answer["at"] = -1 if at < 0 else at
    reader.close()
    return answer


def stream(command):
    made = producer(command)
    failed = []
    count = {"acked": 0}

    def delivered(error, _):
        if error:
            failed.append(error)
        else:
            count["acked"] += 1

    sent = 0
    while not os.path.exists(command["stop"]) and not failed:
        made.produce(command["topic"], str(sent).encode(), partition=command["p"], on_delivery=delivered)
        sent += 1
        made.poll(0.001)
    made.flush(LIMIT_S)
    if failed:
        raise KafkaException(failed[0])
    return {"sent": sent} | count


def join(command):
    """A member of a group until it is told to stop."""
    diary = Diary(command)
    config = BROKER | {
        "group.id": command["group"], "enable.auto.commit": False, "auto.offset.reset": "earliest", "session.timeout.ms": command["session_ms"],
        "heartbeat.interval.ms": 1000, "fetch.wait.max.ms": 100,
        "partition.assignment.strategy": "cooperative-sticky" if command["strategy"] == "cooperative" else "range",
    }
    if command.get("instance"):
        config["group.instance.id"] = command["instance"]
    reader = Consumer(config)
    reader.subscribe([command["topic"]], on_revoke=lambda _, parts: diary.say("revoked", parts=[[one.topic, one.partition] for one in parts]))
    while not diary.is_over():
        messages = reader.consume(100, timeout=0.1)
        diary.owns((one.topic, one.partition) for one in reader.assignment())
        good = [message for message in messages if not message.error()]
        for message in good:
            diary.got(message.partition(), message.offset(), message.value())
        if good:
            try:
                for one in reader.commit(asynchronous=False):
                    diary.say("failed", why=str(one.error)) if one.error else diary.say("committed", p=one.partition, o=one.offset)
            except KafkaException as error:
                diary.say("failed", why=str(error))
    reader.close()


def resource(command, configs=None):
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in (configs or {}).items()]
    return ConfigResource(ResourceType.TOPIC, command["topic"], incremental_configs=entries or None)


def create(command):
    topic = NewTopic(command["topic"], command["partitions"], 1, config=command.get("configs", {}))
    admin().create_topics([topic])[command["topic"]].result(LIMIT_S)


def describe(command):
    topic = admin().list_topics(command["topic"], timeout=LIMIT_S).topics[command["topic"]]
    if topic.error:
        raise KafkaException(topic.error)
    return {"partitions": len(topic.partitions)}


def configs(command):
    asked = resource(command)
    return {"configs": {name: entry.value for name, entry in admin().describe_configs([asked])[asked].result(LIMIT_S).items()}}


def alter(command):
    asked = resource(command, command["configs"])
    admin().incremental_alter_configs([asked])[asked].result(LIMIT_S)


def truncate(command):
    partition = TopicPartition(command["topic"], command["p"], command["before"])
    return {"low": admin().delete_records([partition])[partition].result(LIMIT_S).low_watermark}


serve({
    "produce": produce,
    "consume": consume,
    "offsets": offsets,
    "stream": stream,
    "transact": transact,
    "join": join,
    "create": create,
    "describe": describe,
    "topics": lambda command: {"topics": list(admin().list_topics(timeout=LIMIT_S).topics)},
    "configs": configs,
    "alter": alter,
    "grow": lambda command: admin().create_partitions(
        [NewPartitions(command["topic"], command["partitions"])])[command["topic"]].result(LIMIT_S),
    "truncate": truncate,
    "delete": lambda command: admin().delete_topics([command["topic"]])[command["topic"]].result(LIMIT_S),
}, lambda error: error.args[0].code() if isinstance(error, KafkaException) else None)
