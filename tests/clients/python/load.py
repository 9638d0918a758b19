"""Load by librdkafka: `load.py produce|consume HOST:PORT TOPIC PARTITIONS SIZE COUNT`; prints the seconds that it took."""

import os
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition

LIMIT_S = 300


def produce(broker, topic, partitions, size, count):
    producer = Producer({
        "bootstrap.servers": broker,
        "acks": "1",
        "linger.ms": 5,
        "batch.size": 1 << 20,
        "batch.num.messages": 100_000,
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 1 << 18,
    })
    value = os.urandom(size)
    began = time.monotonic()
    for number in range(count):
        while True:
            try:
                producer.produce(topic, value, partition=number % partitions)
                break
            except BufferError:
                producer.poll(0.01)
    if producer.flush(LIMIT_S):
        sys.exit("not everything was delivered")
    return time.monotonic() - began


def consume(broker, topic, partitions, size, count):
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "unused", "enable.auto.commit": False,
                         "fetch.message.max.bytes": 1 << 20, "queued.max.messages.kbytes": 1 << 17})
    began = time.monotonic()
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    seen = 0
    while seen < count:
        if time.monotonic() - began > LIMIT_S:
            sys.exit(f"{seen} of {count} after {LIMIT_S} s")
        seen += len(consumer.consume(min(10_000, count - seen), timeout=1))
    took = time.monotonic() - began
    consumer.close()
    return took


verb, broker, topic, *numbers = sys.argv[1:]
print({"produce": produce, "consume": consume}[verb](broker, topic, *map(int, numbers)))
