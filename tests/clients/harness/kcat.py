"""kcat behind the commands that the other drivers understand: each is a run, or several, of the program."""

import base64
import json
import subprocess
import tempfile
from pathlib import Path

RUN_LIMIT_S = 120
# A record as kcat prints it: numbers and sizes, then the bytes, then its headers, up to this mark.
END = b"\n\x1e\n"
# Between a key and its value in a line that it is given.
BETWEEN = "\x1f"
FORMAT = r"%p %o %T %K %S\n%k%s%h\n\x1e\n"


class Kcat:
    name = "kcat"

    def __init__(self, address):
        self.address = address

    def ask(self, do, **command):
        return getattr(self, "_" + do)(command)

    def close(self):
        """Nothing of it runs between commands."""

    def _run(self, *arguments, stdin=b""):
        done = subprocess.run(["kcat", "-b", self.address, *arguments], input=stdin, capture_output=True, timeout=RUN_LIMIT_S)
        if done.returncode:
            from .clients import Refused
            said = done.stderr.decode(errors="replace")
            # It prints librdkafka's words for an error, without the number.
            raise Refused(said, 10 if "Message size too large" in said else None)
        return done.stdout

    def _produce(self, command):
        common = ["-P", "-t", command["topic"], "-z", command.get("codec", "none"), "-X", "acks=" + command.get("acks", "all"),
                  "-X", "partitioner=murmur2_random", "-X", f"enable.idempotence={str(command.get('idempotent', False)).lower()}",
                  "-X", "message.max.bytes=8388608"]
        lines = []
        for record in command["records"]:
            place = ["-p", str(-1 if record.get("p") is None else record["p"])]
            line = _line(record)
            if line is not None and not record.get("h") and (not lines or lines[0] == place):
                lines = [place, *lines[1:], line]
                continue
            self._lines(common, lines)
            lines = []
            self._produce_one([*common, *place], record)
        self._lines(common, lines)
        return {}

    def _lines(self, common, lines):
        """One run for records that are lines with a key and a value."""
        if lines:
            place, *rest = lines
            self._run(*common, *place, "-K", BETWEEN, stdin=b"".join(rest))

    def _produce_one(self, arguments, record):
        for name, value in record.get("h", []):
            value = _data(value)
            arguments += ["-H", name.encode() if value is None else name.encode() + b"=" + value]
        key, value = _data(record.get("k")), _data(record.get("v"))
        if not value:
            # A file without a byte is no record to it; and with -Z what is empty in a line is null.
            self._run(*arguments, *([] if value == b"" else ["-Z"]), "-K", BETWEEN, stdin=(key or b"") + BETWEEN.encode() + b"\n")
            return
        if key is not None:
            arguments += ["-k", key]
        with tempfile.TemporaryDirectory() as holder:
            file = Path(holder) / "value"
            file.write_bytes(value)
            self._run(*arguments, str(file))

    def _consume(self, command):
        source = command["from"]
        if isinstance(source, dict):
            source = f"s@{source['time']}"
        elif source == "earliest":
            source = "beginning"
        out = self._run("-C", "-t", command["topic"], "-p", str(command["p"]), "-o", str(source), "-c", str(command["n"]), "-e", "-q",
                        "-X", "check.crcs=true", "-f", FORMAT)
        records = []
        while out:
            front, out = out.split(b"\n", 1)
            partition, offset, time, key, value = map(int, front.split())
            sizes = max(key, 0), max(value, 0)
            body, (headers, out) = out[:sum(sizes)], out[sum(sizes):].split(END, 1)
            records.append({
                "p": partition,
                "o": offset,
                "t": time,
                "k": None if key < 0 else base64.b64encode(body[:sizes[0]]).decode(),
                "v": None if value < 0 else base64.b64encode(body[sizes[0]:]).decode(),
                "h": headers.decode(),
            })
        return {"records": records}

    def _offsets(self, command):
        answer = {}
        for name, time in (("earliest", -2), ("latest", -1), ("at", command.get("time"))):
            if time is not None:
                said = self._run("-Q", "-t", f"{command['topic']}:{command['p']}:{time}").decode()
                answer[name] = max(int(said.split("offset")[1]), -1)
        return answer

    def _describe(self, command):
        topic, = json.loads(self._run("-L", "-J", "-t", command["topic"]))["topics"]
        return {"partitions": len(topic["partitions"])}

    def _topics(self, _):
        return {"topics": [topic["topic"] for topic in json.loads(self._run("-L", "-J"))["topics"]]}


def _data(text):
    return None if text is None else base64.b64decode(text)


def _line(record):
    """The record as a line of its input, unless it cannot be one."""
    fields = _data(record.get("k")), _data(record.get("v"))
    if all(one and not set(one) & {0x0A, 0x1F} for one in fields):
        return BETWEEN.encode().join(fields) + b"\n"
    return None
