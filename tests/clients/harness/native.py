"""The native client as a member of a group: `folio consume --group`, of which the diary is kept here."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass

from .clients import Client
from .places import program

ASSIGNORS = {"range": "range", "cooperative": "cooperative-sticky"}


@dataclass
class NativeClient(Client):
    """One of ours. It is no client of Kafka's, and only a member of groups beside them."""

    def drive(self, broker):
        return Native(broker)


NATIVE = NativeClient("folio", "native")


class Native:
    """A driver that knows one command."""

    def __init__(self, broker):
        self.broker = broker
        self.process = None
        self._lock = threading.Lock()

    def ask(self, do, group, topic, strategy, instance, session_ms, log, stop, limit_s):
        """Joins, until it is told to stop or is killed."""
        command = [program("folio"), "--broker", self.broker.address, "consume", topic, "--group", group, "--format", "%p %o\\n",
                   "--assignor", ASSIGNORS[strategy], "--session-timeout", str(session_ms // 1000)]
        if instance:
            command += ["--instance", instance]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with open(log, "a", buffering=1) as diary:
            others = [threading.Thread(target=self._hear, args=(diary, topic)), threading.Thread(target=self._watch, args=(stop, limit_s))]
            for other in others:
                other.start()
            for line in self.process.stdout:
                partition, offset = map(int, line.split())
                self._say(diary, "got", p=partition, o=offset, v="")
            code = self.process.wait()
            for other in others:
                other.join()
        # It was told to end, or killed.
        if code not in (130, -signal.SIGKILL):
            raise RuntimeError(f"folio consume --group ended with {code}")
        return {}

    def _hear(self, diary, topic):
        """What it says of its partitions."""
        for line in self.process.stderr:
            if line.startswith("folio: reading "):
                numbers = [int(number) for number in re.findall(rf"{re.escape(topic)}-(\d+)(?!\S)", line)]
                self._say(diary, "owns", parts=[[topic, number] for number in numbers])
            else:
                self._say(diary, "failed", why=line.strip())

    def _watch(self, stop, limit_s):
        deadline = time.monotonic() + limit_s
        while self.process.poll() is None:
            if os.path.exists(stop) or time.monotonic() > deadline:
                self.process.send_signal(signal.SIGTERM)
                return
            time.sleep(0.05)

    def _say(self, diary, event, **what):
        with self._lock:
            diary.write(json.dumps({"e": event} | what) + "\n")

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
