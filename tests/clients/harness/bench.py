"""`tests/clients/bench`: Folio and Apache Kafka side by side, in one run, with the same clients.

What counts is what the server spends, read from /proc: it says the same on a busy machine, within reason; times do not.
"""

import argparse
import os
import re
import selectors
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

from . import group_bench, wire
from .brokers import Folio, Kafka
from .places import CACHE, HERE, KAFKA_JARS, PROJECT, TARGET, java

WAITING = 100
WAIT_MS = 500
WATCH_S = 10
GB = 1e9
# What Folio's figures should be at most, and how many times more Kafka should spend for what is produced.
TIMES_THE_FLOOR, TIMES_LESS, WAITING_PERCENT = 1.5, 5, 1


class ReleaseFolio(Folio):
    settings = ("topic.durability=os",)


class WarmKafka(Kafka):
    memory = "1g"
    # Its default, and Folio's.
    initial_rebalance_delay_ms = 3000


class Cpu:
    """Seconds of a processor that a process has spent since this was made, thread by thread."""

    def __init__(self, pid):
        self.pid = pid
        self.before = self._threads()

    def _threads(self):
        spent = {}
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                spent[thread.name] = int((thread / "schedstat").read_text().split()[0])
            except OSError:
                # It has ended meanwhile.
                continue
        return spent

    def spent(self):
        return sum(now - self.before.get(thread, 0) for thread, now in self._threads().items()) / 1e9


class Side:
    """A broker that is measured."""

    def __init__(self, kind):
        began = time.monotonic()
        self.broker = kind()
        self.name = self.broker.name
        self.topics = 0
        self.figures, self.goals = {}, {}
        self.broker.stop()
        began = time.monotonic()
        self.broker.start()
        while True:
            try:
                with wire.Peer(self.broker.address) as peer:
                    peer.send(18, 0, b"")
                    if peer.receive():
                        break
            except OSError:
                time.sleep(0.005)
        self.put("start to the first answer, ms", (time.monotonic() - began) * 1000)

    @property
    def pid(self):
        return self.broker.process.pid

    def cpu(self):
        return Cpu(self.pid)

    def memory(self):
        """What is resident, and what of it is no file, in MB."""
        told = dict(re.findall(r"^(VmRSS|RssAnon):\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.M))
        return int(told["VmRSS"]) / 1000, int(told["RssAnon"]) / 1000

    def put_memory(self, when):
        resident, private = self.memory()
        self.put(f"{when}: resident, MB", resident)
        self.put(f"{when}: resident and no file, MB", private)

    def put(self, what, value, goal=None):
        """`goal`: what it should be at most."""
        self.figures.setdefault(what, []).append(value)
        if goal is not None:
            self.goals[what] = goal

    def topic(self, partitions):
        self.topics += 1
        name = f"load-{self.topics}"
        wire.create_topic(self.broker.address, name, partitions)
        wire.wait_for(self.broker.address, name, partitions)
        return name

    def load(self, verb, topic, partitions, size, count):
        """Seconds of the server's processor for `count` records of `size` bytes, and of the clock; answers and their bytes."""
        cpu = self.cpu()
        done = subprocess.run([CACHE / "python/bin/python", "-B", HERE / "python/load.py", verb, self.broker.address, topic,
                               str(partitions), str(size), str(count)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"bench: {verb} against {self.name}: {done.stderr}")
        took, answers, received = done.stdout.split()
        return cpu.spent(), float(took), int(answers), int(received)

    def measure(self, partitions, size, count):
        topic = self.topic(partitions)
        what = of(size, partitions)
        for verb in ("produce", "consume"):
            spent, took, answers, received = self.load(verb, topic, partitions, size, count)
            self.tell_load(f"{verb} {what}", spent, count, size, took)
            if answers:
                self.put(f"{verb} {what}: bytes of an answer", received / answers)
                self.put(f"{verb} {what}: server s per GB sent", spent / (received / GB))
        self.with_java(topic, partitions, size, count)

    def tell_load(self, what, spent, count, size, took):
        self.put(f"{what}: server us per record", spent / count * 1e6)
        self.put(f"{what}: server s per GB", spent / (count * size / GB))
        self.put(f"{what}: MB/s", count * size / took / 1e6)

    def with_java(self, topic, partitions, size, count):
        """The same load by Kafka's own tools: into a topic of its own, and out of the one that librdkafka filled."""
        what = of(size, partitions)
        cpu, began = self.cpu(), time.monotonic()
        self.java("ProducerPerformance", "--topic", self.topic(partitions), "--num-records", count, "--record-size", size,
                  "--throughput", -1, "--command-property", "acks=1")
        self.tell_load(f"produce {what} (Java)", cpu.spent(), count, size, time.monotonic() - began)
        cpu, began = self.cpu(), time.monotonic()
        self.java("ConsumerPerformance", "--topic", topic, "--num-records", count, "--timeout", 60_000, "--hide-header")
        self.tell_load(f"consume {what} (Java)", cpu.spent(), count, size, time.monotonic() - began)

    def java(self, tool, *arguments):
        """What one of Kafka's tools prints."""
        done = subprocess.run([*java(KAFKA_JARS, "512m"), f"org.apache.kafka.tools.{tool}", "--bootstrap-server", self.broker.address,
                               *map(str, arguments)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"bench: {tool} against {self.name}: {done.stdout}{done.stderr}")
        return done.stdout

    def latency(self, size):
        told = self.java("ProducerPerformance", "--topic", self.topic(1), "--num-records", 50_000, "--record-size", size,
                         "--throughput", 5000, "--command-property", "linger.ms=0", "acks=1")
        for rank in ("50th", "99th"):
            *_, value = re.findall(rf"(\d+) ms {rank}", told)
            self.put(f"produce {size} B, 5000/s: {rank}, ms (Java)", float(value))

    def waiting(self):
        """A hundred consumers at the end of a partition where nothing happens."""
        topic = self.topic(1)
        name = topic.encode()
        body = (struct.pack(">iiiibi", -1, WAIT_MS, 1, 1 << 20, 0, 1) + struct.pack(">h", len(name)) + name
                + struct.pack(">iiqi", 1, 0, 0, 1 << 20))
        peers = [wire.Peer(self.broker.address) for _ in range(WAITING)]
        with selectors.DefaultSelector() as ready:
            for peer in peers:
                peer.send(wire.FETCH, 4, body)
                ready.register(peer.socket, selectors.EVENT_READ, peer)
            answers = 0
            cpu, began = self.cpu(), time.monotonic()
            while time.monotonic() - began < WATCH_S:
                for key, _ in ready.select(0.1):
                    key.data.receive()
                    key.data.send(wire.FETCH, 4, body)
                    answers += 1
            spent = cpu.spent()
        for peer in peers:
            peer.socket.close()
        if answers < WAITING:
            sys.exit(f"bench: {answers} answers to {WAITING} waiting consumers of {self.name}")
        self.put(f"{WAITING} waiting consumers: % of a core", spent / WATCH_S * 100, goal=WAITING_PERCENT)


def of(size, partitions):
    return f"{size} B, {partitions} partition" + ("s" if partitions > 1 else "")


def hold_against_the_floor(side):
    """What the answers that were sent cost beside as many bytes in answers of the same size, by mmap and writev alone."""
    for what in [what for what in side.figures if what.endswith("bytes of an answer")]:
        size = round(statistics.median(side.figures[what]))
        done = subprocess.run(["cargo", "run", "-q", "--release", "--locked", "-p", "folio-broker", "--example", "floor", "--", "send",
                               str(size)], cwd=PROJECT, check=True, capture_output=True, text=True)
        load = what.removesuffix("bytes of an answer")
        spent = statistics.median(side.figures[load + "server s per GB sent"])
        side.put(load + "floor, s per GB sent", float(done.stdout))
        side.put(load + "times the floor", spent / float(done.stdout), goal=TIMES_THE_FLOOR)


def main():
    parser = argparse.ArgumentParser(prog="tests/clients/bench", description="Folio (durability = os) and Apache Kafka 4.4 (warm) side by side.")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median is told (default: 3)")
    parser.add_argument("--groups", action="store_true", help="what consumer groups cost, and nothing else")
    parser.add_argument("--megabytes", type=int, default=300, help="payload of each measurement (default: 300)")
    asked = parser.parse_args()
    if subprocess.run([HERE / "setup", *(word for part in ("kcat", "node", "go", "rust") for word in ("--without", part))]).returncode:
        return 1
    if "FOLIO_BIN" not in os.environ:
        subprocess.run(["cargo", "build", "-q", "--release", "--locked", "--bin", "foliod"], cwd=PROJECT, check=True)
        os.environ["FOLIO_BIN"] = str(TARGET / "release")
    sides = []
    try:
        for kind in (ReleaseFolio, WarmKafka):
            sides.append(Side(kind))
            time.sleep(2)
            sides[-1].put_memory("idle")
        if asked.groups:
            for side in sides:
                group_bench.measure(side)
        else:
            records(asked, sides)
    finally:
        for side in sides:
            side.broker.close()
    if not asked.groups:
        hold_against_the_floor(sides[0])
    tell(*sides)
    return 0


def records(asked, sides):
    """Records in and out, by turns."""
    payload = asked.megabytes * 1_000_000
    for side in sides:
        # Kafka's compiler learns while it works.
        for partitions, size in ((1, 100), (100, 1024)):
            side.measure(partitions, size, payload // size)
        side.figures = {what: values for what, values in side.figures.items() if what.startswith(("start", "idle"))}
    for _ in range(asked.rounds):
        for partitions in (1, 100):
            for size in (100, 1024):
                for side in sides:
                    side.measure(partitions, size, payload // size)
        for side in sides:
            for size in (100, 1024):
                side.latency(size)
            side.waiting()
    for side in sides:
        side.put_memory("after the load")


def tell(folio, kafka):
    print(f"{'':58} {'Folio':>10} {'Kafka':>10} {'Kafka/Folio':>12}  goal")
    for what, values in folio.figures.items():
        ours, theirs = statistics.median(values), kafka.figures.get(what)
        theirs = None if theirs is None else statistics.median(theirs)
        ratio = theirs / ours if theirs is not None and ours else None
        columns = (ours, ".2f", 10), (theirs, ".2f", 10), (ratio, ".1f", 12)
        shown = [f"{'' if one is None else format(one, form):>{width}}" for one, form, width in columns]
        print(f"{what:58} {' '.join(shown)}  {goal_of(what, ours, ratio, folio.goals)}".rstrip())


def goal_of(what, ours, ratio, goals):
    """What the figure should be, and whether it is."""
    if what in goals:
        return f"at most {goals[what]:g}: {'met' if ours <= goals[what] else 'MISSED'}"
    if what.startswith("produce ") and "server us per record" in what and ratio is not None:
        return f"Kafka at least {TIMES_LESS} times: {'met' if ratio >= TIMES_LESS else 'MISSED'}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
