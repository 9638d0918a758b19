"""What consumer groups cost a broker: many that only live, a large one that settles, and commits one after the other.

The members are by hand, so that thousands of them cost this machine less than the broker under test.
"""

import resource
import statistics
import struct
import time

from . import wire
from .handmade import OFFSET_COMMIT, HandMember, assignment, settle, settle_again, subscription

GROUPS, MEMBERS = 1_000, 3
HEARTBEAT_S = 3
WATCH_S = 15
CROWD, PARTITIONS = 300, 3_000
COMMITTERS, COMMITS_PER_S, COMMIT_S = 100, 10_000, 8
TICKS_PER_S = 10
# What Folio's figures should be at most.
MANY_PERCENT, MANY_MB, SETTLE_S = 5, 20, 10
SESSION_MS = 120_000


def measure(side):
    """Everything, against a broker that does nothing else."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = GROUPS * MEMBERS + 1000
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    wire.wait_for_groups(side.broker.address)
    many(side)
    crowd(side)
    commits(side)


def many(side):
    before = side.memory()
    metadata = subscription("many")
    groups = [[_member(side, f"many-{number}") for _ in range(MEMBERS)] for number in range(GROUPS)]
    members = [member for group in groups for member in group]
    try:
        _settle_all(members, metadata)
        # A heartbeat after the other, so that each member has one in time.
        cpu, began, beaten = side.cpu(), time.monotonic(), 0
        while time.monotonic() - began < WATCH_S:
            due = int((time.monotonic() - began) * len(members) / HEARTBEAT_S)
            while beaten < due:
                member = members[beaten % len(members)]
                member.send_heartbeat()
                member.done()
                beaten += 1
            time.sleep(0.002)
        took = time.monotonic() - began
        what = f"{GROUPS} groups of {MEMBERS}"
        side.put(f"{what}: % of a core", cpu.spent() / took * 100, goal=MANY_PERCENT)
        side.put(f"{what}: heartbeats a second", beaten / took)
        now = side.memory()
        side.put(f"{what}: resident, MB", now[0])
        side.put(f"{what}: resident and no file, MB", now[1])
        side.put(f"{what}: no file, MB more than before", now[1] - before[1], goal=MANY_MB)
    finally:
        for member in members:
            member.close()


def _member(side, group):
    return HandMember(side.broker.address, group, session_ms=SESSION_MS)


def _settle_all(members, metadata):
    """As `settle`, for members of many groups at the same time."""
    for member in members:
        member.send_join(metadata)
    for member in members:
        member.joined()
    for member in members:
        member.send_sync([(one, assignment("many", [number])) for number, (one, _) in enumerate(member.members)])
    for member in members:
        member.synced()


def crowd(side):
    share = PARTITIONS // CROWD

    def shares(ids):
        return [(one, assignment("crowd", range(number * share, (number + 1) * share))) for number, one in enumerate(ids)]

    metadata = subscription("crowd")
    members = [_member(side, "crowd") for _ in range(CROWD)]
    try:
        began = time.monotonic()
        settle([(member, metadata) for member in members], shares)
        side.put(f"{CROWD} members over {PARTITIONS} partitions settle, s", time.monotonic() - began, goal=SETTLE_S)
        newcomer = _member(side, "crowd")
        began = time.monotonic()
        settle_again((newcomer, metadata), [(member, metadata) for member in members], shares)
        members.append(newcomer)
        side.put("and once more, as another joins, s", time.monotonic() - began, goal=SETTLE_S)
    finally:
        for member in members:
            member.close()


def commits(side):
    """One offset each, of nobody's groups."""
    topic = side.topic(1)
    peers = [wire.Peer(side.broker.address, limit_s=60) for _ in range(COMMITTERS)]
    each = COMMITS_PER_S // TICKS_PER_S // COMMITTERS
    cpu, began, done, late = side.cpu(), time.monotonic(), 0, []
    try:
        for tick in range(COMMIT_S * TICKS_PER_S):
            due = began + tick / TICKS_PER_S
            time.sleep(max(0, due - time.monotonic()))
            at = time.monotonic()
            for number, peer in enumerate(peers):
                for _ in range(each):
                    peer.send(OFFSET_COMMIT, 2, _commit(f"commits-{number}", topic, tick))
            for peer in peers:
                for _ in range(each):
                    code, = struct.unpack_from(">h", peer.answer()[1][-2:])
                    if code:
                        raise wire.Refusal(code)
            late.append((time.monotonic() - at) * 1000)
            done += each * COMMITTERS
        took = time.monotonic() - began
    finally:
        for peer in peers:
            peer.socket.close()
    spent = cpu.spent()
    side.put("commits a second, of 10,000 that are wanted", done / took)
    side.put("commits: server us each", spent / done * 1e6)
    side.put("commits: % of a core", spent / took * 100)
    side.put(f"commits: a thousand at once, over {COMMITTERS} connections, ms", statistics.median(late))


def _commit(group, topic, offset):
    return (wire.string(group) + struct.pack(">i", -1) + wire.string("") + struct.pack(">qi", -1, 1) + wire.string(topic)
            + struct.pack(">iiqh", 1, 0, offset, -1))
