"""Load by librdkafka: `load.py produce|consume HOST:PORT TOPIC PARTITIONS SIZE COUNT`.

Prints the seconds that it took, how many answers came meanwhile, and their bytes.
"""

import json
import os
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition

LIMIT_S = 300


class Answers:
    """What librdkafka counts of all that a broker answers."""

    def __init__(self):
        self.count = self.size = 0

    def __call__(self, statistics):
        brokers = json.loads(statistics)["brokers"].values()
        self.count, self.size = (sum(broker[what] for broker in brokers) for what in ("rx", "rxbytes"))


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
    return time.monotonic() - began, 0, 0


def consume(broker, topic, partitions, size, count):
    answers = Answers()
    # By itself librdkafka asks for nothing for a second once 100,000 records wait for its application, which they do the
    # sooner the faster a broker is.
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "unused", "enable.auto.commit": False,
                         "statistics.interval.ms": 100, "stats_cb": answers,
                         "fetch.message.max.bytes": 1 << 20, "queued.max.messages.kbytes": 1 << 17, "fetch.queue.backoff.ms": 10})
    began = time.monotonic()
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    seen = 0
    while seen < count:
        if time.monotonic() - began > LIMIT_S:
            sys.exit(f"{seen} of {count} after {LIMIT_S} s")
        seen += len(consumer.consume(min(10_000, count - seen), timeout=1))
    took = time.monotonic() - began
    # What was counted last.
    consumer.poll(0.2)
    consumer.close()
    return took, answers.count, answers.size


verb, broker, topic, *numbers = sys.argv[1:]
print(*{"produce": produce, "consume": consume}[verb](broker, topic, *map(int, numbers)))
