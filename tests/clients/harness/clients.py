"""The clients: how each is started, what it can, and what it cannot, with the reason."""

import json
import select
import subprocess
import threading
from dataclasses import dataclass, field

from .kcat import Kcat
from .places import CACHE, HERE, java

ALL_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ALL_ACKS = ("0", "1", "all")
# Longer than any driver takes to give up by itself.
ANSWER_LIMIT_S = 180


class Refused(Exception):
    """What a client answers when it fails: its own words, and Kafka's code if it has one."""

    def __init__(self, said, code):
        super().__init__(said)
        self.code = code


def needs(names, clients):
    """Why a claim about the clients `names` is left out, if it is: not all of them are among `clients`."""
    missing = [name for name in names if name not in clients]
    return f"needs {' and '.join(missing)}" if missing else None


@dataclass
class Client:
    name: str
    part: str
    command: list = field(default_factory=list)
    # What it cannot, and why: see the README's table. The suite asks `can` before it asks the client.
    cannot: dict = field(default_factory=dict)
    # How it holds headers: `list` as they are, `grouped` by name, `map` of distinct names, `text` as printed.
    headers: str = "list"
    admin: bool = True

    def can(self, what):
        return what not in self.cannot

    def drive(self, broker):
        return Kcat(broker.address) if self.name == "kcat" else Driver(self, broker)


def _python(script):
    return [CACHE / "python/bin/python", "-B", HERE / "python" / script]


def _node(script):
    return [CACHE / "node/node", CACHE / "node" / script]


NO_STATIC = "has no static members"
NO_COOPERATIVE = "has no cooperative assignor"
NO_KEYS = "has no partitioner: the caller names the partition"

CLIENTS = [
    Client("kcat", "kcat", headers="text", admin=False, cannot={
        "time": "has no option for a record's timestamp",
        "zero bytes": "takes keys and headers as arguments, which end at a zero byte",
        "binary headers": "prints header values up to their first zero byte",
        "transactions": "has no transactions",
        "groups": "has a claim of its own",
        "static members": "has a claim of its own",
        "cooperative": "has a claim of its own",
    }),
    Client("confluent", "python", _python("confluent.py")),
    Client("kafka-python", "python", _python("kafka_python.py"), cannot={
        "null key and value": "refuses a record without key and value",
        "null header": "refuses a header without a value",
    }),
    Client("aiokafka", "python", _python("aio.py"), cannot={
        "cooperative": NO_COOPERATIVE,
        "null key and value": "refuses a record without key and value",
    }),
    Client("kafkajs", "node", _node("kafkajs.mjs"), headers="grouped", cannot={
        "tell why there is no coordinator": "says that it found none, and not with which code",
        "static members": NO_STATIC,
        "cooperative": NO_COOPERATIVE,
        "null header": "refuses a header without a value",
        "no time": "turns the offset of a time after the last record into the end",
    }),
    Client("platformatic", "node", _node("platformatic.mjs"), cannot={
        "cooperative": NO_COOPERATIVE,
        "handover": "may still give what a fetch brings of a partition that it has given up meanwhile",
    }),
    Client("java-4.4", "java", [*java(f"{CACHE}/java/classes-4.4:{CACHE}/java/kafka-4.4/*"), "Driver"]),
    Client("java-3.9", "java", [*java(f"{CACHE}/java/classes-3.9:{CACHE}/java/kafka-3.9/*"), "Driver"]),
    Client("franz-go", "go", [CACHE / "go/bin/franz"], cannot={
        "no time": "turns the offset of a time after the last record into the end",
    }),
    Client("sarama", "go", [CACHE / "go/bin/sarama"], cannot={
        "cooperative": NO_COOPERATIVE,
        "keys": "hashes keys with FNV-1a; another hash would be the caller's own code",
    }),
    Client("rskafka", "rust", [CACHE / "rust/debug/rskafka-driver"], headers="map", cannot={
        "acks 0": "always asks for all acknowledgements",
        "acks 1": "always asks for all acknowledgements",
        "idempotence": "has no idempotent producer",
        "keys": NO_KEYS,
        "null header": "has no header without a value, and cannot read a batch that holds one",
        "read null header": "has no header without a value, and cannot read a batch that holds one",
        "configs": "has no configuration requests",
        "grow": "cannot add partitions",
        "transactions": "has no transactions",
        "groups": "has no consumer groups",
        "static members": "has no consumer groups",
        "cooperative": "has no consumer groups",
    }),
]


class Driver:
    """A client in a process of its own that answers one command at a time."""

    def __init__(self, client, broker):
        self.name = client.name
        self.said = broker.dir / f"{client.name}.stderr"
        with open(self.said, "ab") as said:
            self.process = subprocess.Popen([*client.command, broker.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=said, bufsize=0, cwd=HERE / "python")
        self._lock = threading.Lock()
        self._rest = b""

    def ask(self, do, limit_s=ANSWER_LIMIT_S, **command):
        with self._lock:
            try:
                self.process.stdin.write(json.dumps({"do": do, **command}).encode() + b"\n")
                answer = json.loads(self._line(limit_s))
            except (OSError, TimeoutError) as error:
                last = self.said.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} does not answer {do}: {error}\n{last}") from error
        if "error" in answer:
            raise Refused(answer["error"], answer.get("code"))
        return answer

    def _line(self, limit_s):
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            if not select.select([self.process.stdout], [], [], limit_s)[0]:
                self.process.kill()
                raise TimeoutError(f"nothing for {limit_s} s")
            part = self.process.stdout.read(1 << 16)
            if not part:
                raise OSError(f"it ended with {self.process.wait()}")
            parts.append(part)
        line, self._rest = b"".join(parts).split(b"\n", 1)
        return line

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
