"""What the Python drivers share: the loop over commands, bytes as text, and errors with Kafka's code."""

import base64
import json
import os
import sys

LIMIT_S = 60


class Refused(Exception):
    """An error code that stands in an answer where the client raises nothing."""

    def __init__(self, code, message):
        super().__init__(message or f"error {code}")
        self.code = code


class Diary:
    """What a member of a group says of itself, a JSON line each, where the suite can read it after the member's death."""

    def __init__(self, command):
        self.stop = command["stop"]
        self._file = open(command["log"], "a", buffering=1)
        self._owned = None

    def is_over(self):
        return os.path.exists(self.stop)

    def say(self, event, **what):
        self._file.write(json.dumps({"e": event} | what) + "\n")

    def owns(self, partitions):
        """The partitions that are the member's now, as pairs of topic and number; said when they are others than before."""
        owned = sorted(map(list, partitions))
        if owned != self._owned:
            self._owned = owned
            self.say("owns", parts=owned)

    def got(self, p, o, v):
        self.say("got", p=p, o=o, v=v.decode())


def listener(base, diary):
    """The library's listener to rebalances, of which the diary says what was revoked."""
    class Listener(base):
        def on_partitions_revoked(self, revoked):
            diary.say("revoked", parts=[list(one) for one in revoked])

        def on_partitions_assigned(self, assigned):
            """It is told by what is owned."""

    return Listener()


def serve(commands, code_of):
    """Answers each line of the standard input: `commands` maps names to functions of the command.

    `code_of` gives Kafka's error code of an exception, or None.
    """
    out = os.fdopen(os.dup(1), "w", buffering=1)
    # Whatever a library prints must not stand between the answers.
    os.dup2(2, 1)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = commands[command["do"]](command) or {}
        except Exception as error:  # noqa: BLE001: whatever it is, the suite wants to see it
            code = error.code if isinstance(error, Refused) else code_of(error)
            answer = {"error": f"{type(error).__name__}: {error}", "code": code}
        out.write(json.dumps(answer) + "\n")


def data(text):
    return None if text is None else base64.b64decode(text)


def text(data):
    return None if data is None else base64.b64encode(data).decode()


def headers(record):
    return [(name, data(value)) for name, value in record.get("h", [])]


def told(p, o, t, k, v, h):
    """A record as the suite reads it."""
    return {"p": p, "o": o, "t": t, "k": text(k), "v": text(v), "h": [[name, text(value)] for name, value in h or []]}
