"""Members of consumer groups: a driver each, whose diary the suite reads while it runs and after its death."""

import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor

from . import wire
from .report import check, equal

# Nobody is given up because the machine is busy; and who leaves without a word is not missed in time.
SESSION_MS = 240_000
SETTLE_LIMIT_S = 150
LEAVE_LIMIT_S = 120
_numbers = itertools.count()


class Member:
    """One of a group, from its joining to its end."""

    def __init__(self, client, broker, group, topic, strategy="range", instance=None, session_ms=SESSION_MS):
        self.client = client
        self.place = broker.dir / f"member-{next(_numbers)}"
        self.stop_file = self.place.with_suffix(".stop")
        self.place.touch()
        self.driver = client.drive(broker)
        self._pool = ThreadPoolExecutor(1)
        self._run = self._pool.submit(
            self.driver.ask, "join", group=group, topic=topic, strategy=strategy, instance=instance, session_ms=session_ms,
            log=str(self.place), stop=str(self.stop_file), limit_s=1800)

    def events(self, kind):
        # A line that is being written is none yet.
        for line in self.place.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                event = json.loads(line)
                if event["e"] == kind:
                    yield event

    def owned(self):
        """The partitions that are its own, as it was told last."""
        last = None
        for event in self.events("owns"):
            last = event
        return {number for _, number in last["parts"]} if last else set()

    def got(self):
        return [(event["p"], event["o"]) for event in self.events("got")]

    def committed(self):
        """The highest offset of each partition that a commit of its was acknowledged for."""
        found = {}
        for event in self.events("committed"):
            found[event["p"]] = max(event["o"], found.get(event["p"], 0))
        return found

    def said(self):
        return self.place.read_text()[-1500:]

    def leave(self):
        """It is told to stop, and leaves its group as its client does."""
        self.stop_file.touch()
        try:
            self._run.result(LEAVE_LIMIT_S)
        finally:
            self._end()

    def kill(self):
        """It gets no say; one that has not begun ends as soon as it does."""
        if self.driver.process:
            self.driver.process.kill()
        else:
            self.stop_file.touch()
        self._end()

    def _end(self):
        self.driver.close()
        self._pool.shutdown()


class Group:
    """Members that come and go; all are ended with it."""

    def __init__(self, broker, name, topic, partitions):
        self.broker, self.name, self.topic, self.partitions = broker, name, topic, partitions
        self.members = []
        self.gone = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for member in list(self.members):
            self.kill(member)

    def join(self, client, **options):
        self.members.append(Member(client, self.broker, self.name, self.topic, **options))
        return self.members[-1]

    def leave(self, member):
        self._remove(member)
        member.leave()

    def kill(self, member):
        self._remove(member)
        member.kill()

    def _remove(self, member):
        self.members.remove(member)
        self.gone.append(member)

    def settles(self, what):
        """Waits until every partition is somebody's, none two members', and nobody has two more than another."""
        def is_settled():
            owned = [member.owned() for member in self.members]
            parts = sorted(part for one in owned for part in one)
            sizes = [len(one) for one in owned]
            return parts == list(range(self.partitions)) and max(sizes) - min(sizes) <= 1

        self.until(is_settled, f"{what}: it settles")

    def until(self, holds, what, limit_s=SETTLE_LIMIT_S):
        deadline = time.monotonic() + limit_s
        while not holds():
            for member in self.members:
                if member._run.done():
                    member._run.result()
                    check(False, what, "- a member has ended")
            if time.monotonic() > deadline:
                check(False, what, "- it does not:", *(f"\n{member.client.name}: {member.said()}" for member in self.members))
            time.sleep(0.05)

    def write(self, count):
        """So many records more into each partition; returns their places."""
        places = []
        now = int(time.time() * 1000)
        with wire.Peer(self.broker.address) as peer:
            for partition in range(self.partitions):
                first = peer.produce(self.topic, partition, wire.batch([(now, b"k", str(at).encode(), []) for at in range(count)]))
                places += [(partition, first + at) for at in range(count)]
        return places

    def reads(self, places, what):
        """Waits until all of these were read by a member, or by one that was there before."""
        wanted = set(places)
        self.until(lambda: wanted <= {place for member in self.members + self.gone for place in member.got()}, f"{what}: they are read")

    def reads_of(self, places):
        """These, each as often as any member read it."""
        wanted = set(places)
        return sorted(place for member in self.members + self.gone for place in member.got() if place in wanted)

    def shares(self, count, what, once=True):
        """What is written now is read by somebody, committed, and, if `once`, read by nobody else, nor twice."""
        places = self.write(count)
        self.reads(places, what)
        self.commits(what)
        if once:
            equal(self.reads_of(places), sorted(places), f"{what}: the records, as often as they were read")

    def commits(self, what):
        """Waits until what was read is committed."""
        ends = {partition: wire.end_of(self.broker.address, self.topic, partition) for partition in range(self.partitions)}
        self.until(lambda: wire.committed(self.broker.address, self.name, self.topic, self.partitions) == ends, f"{what}: they are committed")
