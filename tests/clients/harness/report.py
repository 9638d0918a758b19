"""Claims, what became of each, and the count at the end."""

import threading
import time
import traceback


# How long what has to happen may take. Only a failure waits so long, and machines are busy.
PATIENCE_S = 60


class Failed(AssertionError):
    """A claim that does not hold, with what was seen instead."""

    def __init__(self, *said):
        super().__init__(" ".join(map(str, said)))


def check(holds, *said):
    if not holds:
        raise Failed(*said)


def equal(found, expected, what):
    if found != expected:
        raise Failed(f"{what}: {shown(found)}, not {shown(expected)}")


def until(holds, *said, limit_s=PATIENCE_S):
    """Waits until `holds()`; of `said`, what to say if it never does, functions are asked then."""
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(f"not after {limit_s} s:", *(one() if callable(one) else one for one in said))
        time.sleep(0.05)


def until_equal(found, expected, what):
    """Waits until `found()` gives what is expected: a broker may answer before everybody has heard."""
    until(lambda: found() == expected, what, "is", lambda: shown(found()), "not", shown(expected))


def shown(value, limit=400):
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


class Report:
    """Says each claim as it is decided, in the words of the other tests."""

    def __init__(self, only=""):
        self.only = only
        self.passed = 0
        self.failed = []
        self.skipped = []
        self.again = []
        self._lock = threading.Lock()

    def claim(self, name, holds, *arguments, attempts=1):
        """Runs `holds`; whatever it raises is a failure. With more than one of `attempts` it is said, and tried anew."""
        if self.only not in name:
            return
        for left in reversed(range(attempts)):
            began = time.monotonic()
            try:
                holds(*arguments)
                break
            except Exception as error:  # noqa: BLE001: a driver that dies is a failure of the claim, not of the suite
                with self._lock:
                    (self.again if left else self.failed).append(name)
                    print(f"test {name} ... {'failed, and is tried anew' if left else 'FAILED'}")
                    told = str(error) if isinstance(error, Failed) else "".join(traceback.format_exception(error))
                    print("    " + told.strip().replace("\n", "\n    "), flush=True)
        else:
            return
        with self._lock:
            self.passed += 1
            spent = time.monotonic() - began
            print(f"test {name} ... ok" + (f" ({spent:.1f} s)" if spent > 2 else ""), flush=True)

    def skip(self, name, reason):
        if self.only not in name:
            return
        with self._lock:
            self.skipped.append(f"{name} ({reason})")

    def close(self):
        """The last lines of the run; whether it is good."""
        print()
        for name in self.again:
            print(f"tried anew: {name}")
        for name in self.failed:
            print(f"failed: {name}")
        for name in self.skipped:
            print(f"skipped: {name}")
        failed = len(self.failed) + (0 if self.passed else 1)
        print(f"{self.passed} passed, {failed} failed, {len(self.skipped)} skipped", flush=True)
        return failed == 0
