"""Consumer groups: what each client does as a member, clients of different makers (and of both protocols) in one group, kcat."""

import itertools
import signal
import subprocess
import time

from . import wire
from .clients import needs
from .members import SESSION_MS, SETTLE_LIMIT_S, Group
from .native import NATIVE
from .report import PATIENCE_S, check, equal, until

PARTITIONS = 6
SHORT_SESSION_MS = 10_000
MIXED = (("java-4.4", "confluent"), ("kafka-python", "franz-go"))
# Beside these the native client is a member: once it comes first, once it comes to others.
MIXED_NATIVE = (("java-4.4", "folio"), ("folio", "confluent"))
COME_AND_GO = "members_come_and_go"
_numbers = itertools.count()


def alone(run):
    """Every scenario of one client."""
    if not run.client.can("handover"):
        run.report.skip(f"{run.prefix}::groups::{COME_AND_GO}_and_no_record_is_read_twice", run.client.cannot["handover"])
    for name, holds, wanted in (
        (f"{COME_AND_GO}_and_every_partition_is_somebodys", comes_and_goes, "groups"),
        ("a_member_that_is_killed_is_missed_after_its_session", is_missed, "groups"),
        ("what_was_committed_is_where_the_next_member_goes_on", resumes, "groups"),
        ("a_static_member_comes_back_to_its_partitions_and_nobody_else_notices", comes_back, "static members"),
        ("with_the_cooperative_assignor_nobody_gives_up_what_stays", keeps_what_stays, "cooperative"),
    ):
        run.claim(f"groups::{name}", holds, run, needs=wanted, attempts=run.broker.attempts)


def group_of(run, what):
    """One of its own on a topic of its own, also where a claim is tried anew."""
    topic = run.topic(f"group-{what}-{next(_numbers)}", PARTITIONS)
    return Group(run.broker, topic, topic, PARTITIONS)


def comes_and_goes(run):
    once = run.client.can("handover")
    with group_of(run, "members") as group:
        first = group.join(run.client)
        group.settles("alone")
        group.reads(group.write(5), "alone")
        group.join(run.client)
        group.settles("a second joins")
        group.join(run.client)
        group.settles("a third joins")
        group.shares(5, "three members", once)
        group.leave(first)
        group.settles("the first leaves")
        group.shares(5, "two members", once)


def is_missed(run):
    with group_of(run, "killed") as group:
        dies, stays = (group.join(run.client, session_ms=SHORT_SESSION_MS) for _ in range(2))
        group.settles("two members")
        group.reads(group.write(3), "two members")
        began = time.monotonic()
        group.kill(dies)
        group.settles("one was killed")
        # On a busy machine its last heartbeat may be as old as that.
        check(time.monotonic() - began > SHORT_SESSION_MS / 1000 / 3, "it was given up after", time.monotonic() - began, "s")
        equal(stays.owned(), set(range(PARTITIONS)), "partitions of who is left")
        group.reads(group.write(3), "the one that is left")


def resumes(run):
    with group_of(run, "resumed") as group:
        first = group.join(run.client)
        group.settles("the first")
        places = group.write(10)
        group.reads(places, "the first")
        group.commits("the first")
        group.leave(first)
        later = group.write(4)
        ends = {partition: wire.end_of(run.broker.address, group.topic, partition) for partition in range(PARTITIONS)}
        committed = wire.committed(run.broker.address, group.name, group.topic, PARTITIONS)
        equal(sum(ends[partition] - committed[partition] for partition in ends), 4 * PARTITIONS, "the lag")
        second = group.join(run.client)
        group.reads(later, "the second")
        group.commits("the second")
        equal(sorted(second.got()), sorted(later), "what the second read")


def comes_back(run):
    with group_of(run, "static") as group:
        first = group.join(run.client, instance="one")
        other = group.join(run.client, instance="two")
        group.settles("two static members")
        before, noticed = first.owned(), len(list(other.events("owns")))
        # It goes without a word, and is back before its session has ended.
        group.kill(first)
        back = group.join(run.client, instance="one")
        group.until(lambda: back.owned() == before, "it is back at its partitions")
        places = group.write(3)
        group.reads(places, "both")
        equal(len(list(other.events("owns"))), noticed, "how often the other was told of partitions")


def keeps_what_stays(run):
    with group_of(run, "cooperative") as group:
        first = group.join(run.client, strategy="cooperative")
        group.settles("alone")
        group.reads(group.write(3), "alone")
        second = group.join(run.client, strategy="cooperative")
        group.settles("a second joins")
        given_up = {number for event in first.events("revoked") for _, number in event["parts"]}
        equal(given_up, second.owned(), "what the first gave up")
        group.shares(3, "both")


def claims(broker, clients, report):
    """Clients of two makers in one group, and kcat."""
    by_name = {client.name: client for client in clients}
    native = broker.name == "folio"
    if native:
        by_name[NATIVE.name] = NATIVE
    name = f"{broker.name}::kcat::groups::two_of_them_share_a_topic_and_a_third_goes_on_where_they_were"
    if "kcat" in by_name:
        yield name, kcats, broker
    else:
        report.skip(name, needs(["kcat"], by_name))
    for names in MIXED + MIXED_NATIVE * native:
        lacks = needs(names, by_name)
        for strategy in ("range", "cooperative"):
            name = f"{broker.name}::groups::{'_and_'.join(names)}_share_a_group_by_{strategy}"
            if lacks:
                report.skip(name, lacks)
            else:
                yield name, share, broker, [by_name[one] for one in names], strategy


def share(broker, clients, strategy):
    name = f"mixed-{'-'.join(client.name for client in clients)}-{strategy}-{next(_numbers)}"
    wire.create_topic(broker.address, name, PARTITIONS)
    wire.wait_for(broker.address, name, PARTITIONS)
    with Group(broker, name, name, PARTITIONS) as group:
        first = group.join(clients[0], strategy=strategy)
        group.settles("the first")
        group.join(clients[1], strategy=strategy)
        group.settles("one of each")
        group.join(clients[0], strategy=strategy)
        group.settles("three members")
        group.shares(5, "three members")
        group.leave(first)
        group.settles("two are left")
        group.leave(group.members[1])
        group.settles("the other alone")
        places = group.write(5)
        group.reads(places, "the other alone")


def kcats(broker):
    """Two of kcat's members share a topic; what both committed is not printed again."""
    topic = f"kcat-group-{next(_numbers)}"
    wire.create_topic(broker.address, topic, PARTITIONS)
    wire.wait_for(broker.address, topic, PARTITIONS)
    group = Group(broker, topic, topic, PARTITIONS)
    running = [_Kcat(broker, topic, number) for number in range(2)]
    try:
        # Both are there once a record of every round comes from both.
        written = []

        def both_are_there():
            for one in running:
                one.forget()
            places = group.write(1)
            written.extend(places)
            until(lambda: set(places) <= set(running[0].places() + running[1].places()), "all is printed", limit_s=SETTLE_LIMIT_S)
            return all(one.partitions() and one.partitions() < set(range(PARTITIONS)) for one in running)

        until(both_are_there, "they do not share:", lambda: [sorted(one.partitions()) for one in running], limit_s=SETTLE_LIMIT_S)
        for one in running:
            one.leave()
        equal(wire.committed(broker.address, topic, topic, PARTITIONS),
              {partition: len(written) // PARTITIONS for partition in range(PARTITIONS)}, "what they committed")
        running.append(_Kcat(broker, topic, 2))
        places = group.write(2)
        until(lambda: set(places) <= set(running[2].places()), "the third prints what is new", limit_s=SETTLE_LIMIT_S)
        equal(sorted(running[2].places()), sorted(places), "all that the third prints")
    finally:
        for one in running:
            one.kill()


class _Kcat:
    def __init__(self, broker, topic, number):
        self.out = broker.dir / f"{topic}-{number}.out"
        self.seen = 0
        with open(self.out, "wb") as out, open(self.out.with_suffix(".err"), "wb") as said:
            self.process = subprocess.Popen(
                ["kcat", "-b", broker.address, "-G", topic, "-u", "-q", "-f", "%p %o\\n", "-X", "auto.offset.reset=earliest", "-X",
                 f"session.timeout.ms={SESSION_MS}", "-X", "heartbeat.interval.ms=1000", topic], stdout=out, stderr=said)

    def places(self):
        return [tuple(map(int, line.split())) for line in self.out.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def partitions(self):
        """Of what it printed since it was told to forget."""
        return {partition for partition, _ in self.places()[self.seen:]}

    def forget(self):
        self.seen = len(self.places())

    def leave(self):
        self.process.send_signal(signal.SIGTERM)
        equal(self.process.wait(PATIENCE_S), 0, "kcat's end")

    def kill(self):
        self.process.kill()
        self.process.wait()
