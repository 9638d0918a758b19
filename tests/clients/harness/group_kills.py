"""The broker dies while groups rebalance and commit, again and again: no offset that was acknowledged goes back, no group is
lost, every record is read, and a group that had no cause to rebalance reads none twice.
"""

import random
import threading
import time

from . import wire
from .clients import needs
from .handmade import HandMember, members_of, subscription
from .kills import KILLS
from .members import Group
from .report import equal

PARTITIONS = 6
# What two members of different makers share, while others come and go; and what two others share in peace. franz-go has no
# peace: it does not try a refused connection again, so that a heartbeat that finds nobody listening ends its membership.
RESTLESS = ("franz-go", "confluent")
STEADY = ("java-4.4", "confluent")
# Longer than any broker takes to start: nobody is given up meanwhile, and no client gives itself up.
SESSION_MS = 300_000


def claims(kind, clients, report):
    by_name = {client.name: client for client in clients}
    lacks = needs(sorted({*RESTLESS, *STEADY}), by_name)
    for what, holds in (("the_broker_dies_while_groups_rebalance", _Rebalances), ("the_broker_dies_while_groups_commit", _Commits)):
        survives = f"{kind.name}::kills::{what}_and_their_offsets_and_members_survive"
        once = f"{kind.name}::kills::{what}_and_one_without_cause_does_not_rebalance_and_reads_nothing_twice"
        if lacks:
            report.skip(survives, lacks)
            report.skip(once, lacks)
            continue
        steady = Steady()
        report.claim(survives, survive, kind, by_name, holds, steady, attempts=kind.attempts)
        if steady.rebalances is None:
            report.skip(once, "is seen while another claim is decided, which was not asked for or failed")
        else:
            report.claim(once, steady.reads_once)


class Steady:
    """What became of a group in which nobody came or went: while this is not known, `rebalances` is None."""

    def __init__(self):
        self.rebalances, self.written, self.read = None, [], []
        # The ids of its members.
        self.before, self.after = set(), set()

    def reads_once(self):
        equal(len(self.before), len(STEADY), "members of the group")
        equal(self.after, self.before, "its members, after the deaths and before")
        equal(self.rebalances, 0, "how often it had to give up partitions")
        equal(self.read, sorted(self.written), "its records, as often as they were read")


def survive(kind, by_name, disturbance, seen):
    broker = kind(is_killed=True)
    try:
        wire.wait_for_groups(broker.address)
        for name in ("restless", "steady"):
            wire.create_topic(broker.address, name, PARTITIONS)
            wire.wait_for(broker.address, name, PARTITIONS)
        with Group(broker, "restless", "restless", PARTITIONS) as restless, Group(broker, "steady", "steady", PARTITIONS) as steady:
            for group, names in ((restless, RESTLESS), (steady, STEADY)):
                for name in names:
                    group.join(by_name[name], session_ms=SESSION_MS)
                group.settles(f"{group.name}, before")
            _die(broker, (restless, steady), disturbance, seen)
    finally:
        broker.close()


def _die(broker, groups, disturbance, seen):
    fate = random.Random(52)
    written = {group.name: group.write(5) for group in groups}
    steady = groups[1]
    rebalanced = len(list(_given_up(steady)))
    seen.before = members_of(broker.address, steady.name)
    for _ in range(KILLS[broker.name]):
        acting = disturbance(broker, groups)
        time.sleep(fate.uniform(0, 0.4))
        broker.kill()
        acknowledged = {group.name: _acknowledged(group) for group in groups}
        acting.end()
        broker.start()
        wire.wait_for_groups(broker.address)
        for group in groups:
            wire.wait_for(broker.address, group.topic, PARTITIONS)
            now = wire.committed(broker.address, group.name, group.topic, PARTITIONS)
            back = {number: (offset, now[number]) for number, offset in acknowledged[group.name].items() if now[number] < offset}
            equal(back, {}, f"{group.name}: offsets that were committed, and are told after a death")
            written[group.name] += acting.written[group.name] + group.write(2)
    for group in groups:
        group.until(lambda group=group: _is_up_to_date(group), f"{group.name}: all is committed")
        group.reads(written[group.name], group.name)
        group.settles(f"{group.name}, after")
    seen.after = members_of(broker.address, steady.name)
    seen.rebalances = len(list(_given_up(steady))) - rebalanced
    seen.written, seen.read = written[steady.name], steady.reads_of(written[steady.name])


def _acknowledged(group):
    found = {}
    for member in group.members + group.gone:
        for number, offset in member.committed().items():
            found[number] = max(offset, found.get(number, 0))
    return found


def _given_up(group):
    for member in group.members + group.gone:
        for kind in ("revoked", "lost"):
            yield from member.events(kind)


def _is_up_to_date(group):
    address = group.broker.address
    ends = {number: wire.end_of(address, group.topic, number) for number in range(PARTITIONS)}
    return wire.committed(address, group.name, group.topic, PARTITIONS) == ends


class _Rebalances:
    """Somebody joins the restless group, and never says another word."""

    def __init__(self, broker, groups):
        self.written = {group.name: [] for group in groups}
        self.stranger = HandMember(broker.address, groups[0].name, session_ms=6_000)
        self.stranger.send_join(subscription(groups[0].topic))

    def end(self):
        self.stranger.close()


class _Commits:
    """Both groups are written to all the time, and commit all the time."""

    def __init__(self, broker, groups):
        self.written = {group.name: [] for group in groups}
        self._writing = threading.Thread(target=self._write, args=[groups])
        self._writing.start()

    def _write(self, groups):
        try:
            while True:
                for group in groups:
                    self.written[group.name] += group.write(1)
        except OSError:
            # The broker is dead: what was not acknowledged is nobody's.
            return

    def end(self):
        self._writing.join()
