"""aiokafka: `aio.py HOST:PORT`."""

import asyncio
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from driving import LIMIT_S, Diary, Refused, data, headers, listener, serve, told

BROKER = {"bootstrap_servers": sys.argv[1]}
LOOP = asyncio.new_event_loop()
_admin = None


async def admin():
    global _admin
    if _admin is None:
        _admin = AIOKafkaAdminClient(**BROKER)
        await _admin.start()
    return _admin


async def produce(command):
    acks = command.get("acks", "all")
    codec = command.get("codec", "none")
    made = AIOKafkaProducer(
        **BROKER,
        acks=acks if acks == "all" else int(acks),
        compression_type=None if codec == "none" else codec,
        enable_idempotence=command.get("idempotent", False),
        max_request_size=8 << 20,
        linger_ms=20,
    )
    await made.start()
    try:
        sent = [
            await made.send(command["topic"], data(record.get("v")), data(record.get("k")), record.get("p"),
                            record.get("t"), headers(record))
            for record in command["records"]
        ]
        where = await asyncio.wait_for(asyncio.gather(*sent), LIMIT_S)
    finally:
        await made.stop()
    # Without acknowledgement it gives none.
    return {"offsets": [(one.partition, one.offset) if one else (-1, -1) for one in where]}


async def transact(command):
    """One record in a transaction."""
    made = AIOKafkaProducer(**BROKER, transactional_id=command["id"])
    try:
        await asyncio.wait_for(made.start(), LIMIT_S)
        async with made.transaction():
            await made.send(command["topic"], b"in a transaction")
    finally:
        await made.stop()


async def consumer(partition):
    reader = AIOKafkaConsumer(**BROKER, auto_offset_reset="none", enable_auto_commit=False)
    await reader.start()
    reader.assign([partition])
    return reader


async def consume(command):
    partition = TopicPartition(command["topic"], command["p"])
    reader = await consumer(partition)
    try:
        source = command["from"]
        if isinstance(source, dict):
            reader.seek(partition, (await reader.offsets_for_times({partition: source["time"]}))[partition].offset)
        elif source == "earliest":
            reader.seek(partition, (await reader.beginning_offsets([partition]))[partition])
        else:
            reader.seek(partition, source)
        records = []
        deadline = time.monotonic() + command.get("limit_ms", LIMIT_S * 1000) / 1000
        while len(records) < command["n"] and time.monotonic() < deadline:
            found = await reader.getmany(timeout_ms=200, max_records=command["n"] - len(records))
            for batch in found.values():
                records += [told(one.partition, one.offset, one.timestamp, one.key, one.value, one.headers) for one in batch]
        return {"records": records}
    finally:
        await reader.stop()


async def offsets(command):
    partition = TopicPartition(command["topic"], command["p"])
    reader = await consumer(partition)
    try:
        answer = {
            "earliest": (await reader.beginning_offsets([partition]))[partition],
            "latest": (await reader.end_offsets([partition]))[partition],
        }
        if "time" in command:
            at = (await reader.offsets_for_times({partition: command["time"]}))[partition]
            answer["at"] = -1 if at is None else at.offset
        return answer
    finally:
        await reader.stop()


async def join(command):
    """A member of a group until it is told to stop."""
    diary = Diary(command)
    reader = AIOKafkaConsumer(
        **BROKER, group_id=command["group"], enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=100,
        session_timeout_ms=command["session_ms"], heartbeat_interval_ms=1000,
        partition_assignment_strategy=(RangePartitionAssignor,), group_instance_id=command.get("instance"))
    reader.subscribe([command["topic"]], listener=listener(ConsumerRebalanceListener, diary))
    await reader.start()
    while not diary.is_over():
        found = await reader.getmany(timeout_ms=100, max_records=100)
        diary.owns(reader.assignment())
        for batch in found.values():
            for one in batch:
                diary.got(one.partition, one.offset, one.value)
        if found:
            try:
                await reader.commit()
                for partition, batch in found.items():
                    diary.say("committed", p=partition.partition, o=batch[-1].offset + 1)
            except KafkaError as error:
                diary.say("failed", why=repr(error))
    await reader.stop()


def check(errors):
    for one in errors:
        if one[1]:
            raise Refused(one[1], str(one))


async def create(command):
    topic = NewTopic(command["topic"], command["partitions"], 1, topic_configs=command.get("configs", {}))
    check((await (await admin()).create_topics([topic])).topic_errors)


async def describe(command):
    topic = (await (await admin()).describe_topics([command["topic"]]))[0]
    if topic["error_code"]:
        raise Refused(topic["error_code"], str(topic))
    return {"partitions": len(topic["partitions"])}


async def configs(command):
    found = await (await admin()).describe_configs([ConfigResource(ConfigResourceType.TOPIC, command["topic"])])
    code, message, _, _, entries = found[0].resources[0][:5]
    if code:
        raise Refused(code, message)
    return {"configs": {entry[0]: entry[1] for entry in entries}}


async def alter(command):
    asked = ConfigResource(ConfigResourceType.TOPIC, command["topic"], command["configs"])
    for answer in await (await admin()).alter_configs([asked]):
        for code, message, *_ in answer.resources:
            if code:
                raise Refused(code, message)


async def grow(command):
    await (await admin()).create_partitions({command["topic"]: NewPartitions(command["partitions"])})


async def truncate(command):
    partition = TopicPartition(command["topic"], command["p"])
    return {"low": (await (await admin()).delete_records({partition: RecordsToDelete(command["before"])}))[partition]}


async def delete(command):
    check((await (await admin()).delete_topics([command["topic"]])).topic_error_codes)


async def topics(command):
    return {"topics": await (await admin()).list_topics()}


def run(verb):
    return lambda command: LOOP.run_until_complete(verb(command))


serve({verb.__name__: run(verb) for verb in
       (produce, transact, consume, offsets, join, create, describe, topics, configs, alter, grow, truncate, delete)},
      lambda error: getattr(error, "errno", None))
