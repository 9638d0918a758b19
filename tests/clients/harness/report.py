"""Claims, what became of each, and the count at the end."""

import sys
import threading
import time
import traceback


class Failed(AssertionError):
    """A claim that does not hold, with what was seen instead."""


def check(holds, *said):
    if not holds:
        raise Failed(" ".join(str(one) for one in said))


def equal(found, expected, what):
    if found != expected:
        raise Failed(f"{what}: {shown(found)}, not {shown(expected)}")


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
        self._lock = threading.Lock()

    def claim(self, name, holds, *arguments):
        """Runs `holds`; whatever it raises is a failure."""
        if self.only not in name:
            return
        began = time.monotonic()
        try:
            holds(*arguments)
        except Exception as error:  # noqa: BLE001: a driver that dies is a failure of the claim, not of the suite
            with self._lock:
                self.failed.append(name)
                print(f"test {name} ... FAILED", flush=True)
                told = str(error) if isinstance(error, Failed) else "".join(traceback.format_exception(error))
                print("    " + told.strip().replace("\n", "\n    "), file=sys.stdout, flush=True)
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
        for name in self.failed:
            print(f"failed: {name}")
        for name in self.skipped:
            print(f"skipped: {name}")
        failed = len(self.failed) + (0 if self.passed else 1)
        print(f"{self.passed} passed, {failed} failed, {len(self.skipped)} skipped", flush=True)
        return failed == 0
