"""The broker under test, and Apache Kafka as the oracle, each in a process of its own on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .places import KAFKA_JARS, java, program

START_LIMIT_S = 240


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Broker:
    """A running broker: `address`, `log_dir(topic, partition)`, `kill` and `start` again over the same data."""

    name = ""
    has_transactions = True
    # How often a claim about members of groups may be tried.
    attempts = 1

    def __init__(self, is_killed=False):
        """`is_killed`: this one will be, and started again."""
        self.is_killed = is_killed
        self.dir = Path(tempfile.mkdtemp(prefix=f"folio-clients-{self.name}-"))
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.process = None
        self.prepare()
        self.start()

    def prepare(self):
        """Makes what the first start needs."""

    def command(self):
        raise NotImplementedError

    def start(self):
        with open(self.dir / "stderr", "ab") as said:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=self.dir)
        deadline = time.monotonic() + START_LIMIT_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not start:\n{self.said()}")
            time.sleep(0.02)

    def ready(self):
        return answers(self.port)

    def said(self):
        return (self.dir / "stderr").read_text(errors="replace")[-4000:]

    def kill(self):
        """As a machine that takes the process away would: it gets no say."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def close(self):
        if self.process and self.process.poll() is None:
            self.stop()
        if not os.environ.get("KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)


class Folio(Broker):
    name = "folio"
    has_transactions = False
    settings = ()

    def command(self):
        settings = [word for setting in self.settings for word in ("--set", setting)]
        return [program("foliod"), "--data-dir", self.dir / "data", "--listen", self.address, *settings]

    def log_dir(self, topic, partition=0):
        return self.dir / "data" / "topics" / f"{topic}-{partition}"


class Kafka(Broker):
    """One node that is broker and controller."""

    name = "kafka"
    # That one holds of the oracle shows that it is right. What foreign members do to it now and then says nothing of Folio.
    attempts = 3
    memory = "512m"
    initial_rebalance_delay_ms = 0
    cluster = "MkU3OEVBNTcwNTJENDM2Qg"
    # It fences itself when it has not heard of itself for so long, as on a busy machine; and one that was killed is not let
    # in again before.
    session_ms, session_killed_ms = 60_000, 9_000

    def prepare(self):
        controller = free_port()
        (self.dir / "server.properties").write_text("\n".join([
            "process.roles=broker,controller",
            "node.id=1",
            f"listeners=PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller}",
            f"advertised.listeners=PLAINTEXT://{self.address}",
            "controller.listener.names=CONTROLLER",
            f"controller.quorum.bootstrap.servers=127.0.0.1:{controller}",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            f"log.dirs={self.dir}/data",
            f"group.initial.rebalance.delay.ms={self.initial_rebalance_delay_ms}",
            f"broker.session.timeout.ms={self.session_killed_ms if self.is_killed else self.session_ms}",
            "log.cleaner.backoff.ms=500",
            # Or whether a group without offsets is still there would depend on when it is asked.
            "offsets.retention.check.interval.ms=86400000",
            "offsets.topic.replication.factor=1",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "share.coordinator.state.topic.replication.factor=1",
            "share.coordinator.state.topic.min.isr=1",
        ]) + "\n")
        subprocess.run(
            [*java(KAFKA_JARS), "kafka.tools.StorageTool", "format", "-t", self.cluster, "-c", "server.properties", "--standalone"],
            cwd=self.dir, check=True, capture_output=True)

    def command(self):
        # No limit on compilation here: this one is measured, too.
        words = java(KAFKA_JARS, self.memory)
        words.remove("-XX:TieredStopAtLevel=1")
        words.remove("-XX:+UseSerialGC")
        return [*words, "kafka.Kafka", "server.properties"]

    def log_dir(self, topic, partition=0):
        return self.dir / "data" / f"{topic}-{partition}"


BROKERS = {"folio": Folio, "kafka": Kafka}
