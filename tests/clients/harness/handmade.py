"""A member of a consumer group by hand: the oldest versions of the requests, byte by byte."""

import struct

from . import wire
from .report import PATIENCE_S, equal, until
from .wire import Refusal, string

OFFSET_COMMIT, JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP, DESCRIBE_GROUPS = 8, 11, 12, 13, 14, 15
CONSUMER = "consumer"
REBALANCE_MS = 60_000
# Nobody sends heartbeats for a member by hand while a tool is asked about it.
SESSION_MS = 300_000


def sized(data):
    return struct.pack(">i", len(data)) + data


def subscription(topic):
    """What a consumer says when it joins: version 0 of ConsumerProtocolSubscription."""
    return struct.pack(">hi", 0, 1) + string(topic) + struct.pack(">i", -1)


def assignment(topic, partitions):
    """What a consumer is told: version 0 of ConsumerProtocolAssignment."""
    return struct.pack(">hi", 0, 1) + string(topic) + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions) + struct.pack(">i", -1)


class Answer:
    """What is left of one, read from its front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        value, = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return value

    def string(self):
        return self._taken(self.number("h")).decode()

    def bytes(self):
        return self._taken(self.number("i"))

    def _taken(self, size):
        self.at += size
        return self.data[self.at - size:self.at]

    def check(self):
        code = self.number("h")
        if code:
            raise Refusal(code)


class HandMember:
    """One connection, one member. What is sent is answered later, so that thousands fit into one thread."""

    def __init__(self, address, group, session_ms=SESSION_MS, limit_s=PATIENCE_S):
        self.peer = wire.Peer(address, limit_s)
        self.group, self.session_ms = group, session_ms
        self.id, self.generation, self.leader, self.members = "", -1, "", []
        self.assigned = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send_join(self, metadata, protocol_type=CONSUMER, protocols=("range",)):
        body = string(self.group) + struct.pack(">ii", self.session_ms, REBALANCE_MS) + string(self.id) + string(protocol_type)
        body += struct.pack(">i", len(protocols)) + b"".join(string(name) + sized(metadata) for name in protocols)
        self.peer.send(JOIN_GROUP, 1, body)

    def joined(self):
        answer = self._answer()
        answer.check()
        self.generation, self.protocol = answer.number("i"), answer.string()
        self.leader, self.id = answer.string(), answer.string()
        self.members = [(answer.string(), answer.bytes()) for _ in range(answer.number("i"))]

    def is_leader(self):
        return self.id == self.leader

    def send_sync(self, assignments=()):
        body = string(self.group) + struct.pack(">i", self.generation) + string(self.id) + struct.pack(">i", len(assignments))
        self.peer.send(SYNC_GROUP, 0, body + b"".join(string(member) + sized(data) for member, data in assignments))

    def synced(self):
        answer = self._answer()
        answer.check()
        return answer.bytes()

    def send_heartbeat(self):
        self.peer.send(HEARTBEAT, 0, string(self.group) + struct.pack(">i", self.generation) + string(self.id))

    def done(self):
        """The answer to a heartbeat, or to leaving."""
        self._answer().check()

    def hears_of_rebalance(self):
        """Returns once a heartbeat is answered with REBALANCE_IN_PROGRESS."""
        until(self._is_told_of_rebalance, "its heartbeats are answered as if nothing had happened")

    def _is_told_of_rebalance(self):
        self.send_heartbeat()
        try:
            self.done()
        except Refusal as refusal:
            equal(refusal.code, 27, "the code of a heartbeat")
            return True
        return False

    def leave(self):
        self.peer.send(LEAVE_GROUP, 0, string(self.group) + string(self.id))
        self.done()

    def send_commit(self, topic, offsets):
        """`offsets`: of each partition."""
        body = string(self.group) + struct.pack(">i", self.generation) + string(self.id) + struct.pack(">qi", -1, 1) + string(topic)
        self.peer.send(OFFSET_COMMIT, 2, body + struct.pack(">i", len(offsets)) + b"".join(
            struct.pack(">iqh", partition, offset, -1) for partition, offset in offsets.items()))

    def committed(self):
        """The code of each partition."""
        answer = self._answer()
        answer.number("i")
        answer.string()
        return {answer.number("i"): answer.number("h") for _ in range(answer.number("i"))}

    def close(self):
        self.peer.socket.close()

    def _answer(self):
        return Answer(self.peer.answer()[1])


def members_of(address, group):
    """The ids that DescribeGroups of version 0 tells."""
    with wire.Peer(address) as peer:
        peer.send(DESCRIBE_GROUPS, 0, struct.pack(">i", 1) + string(group))
        answer = Answer(peer.answer()[1])
    answer.number("i")
    answer.check()
    for _ in ("its name", "its state", "the type of its protocol", "its protocol"):
        answer.string()
    found = set()
    for _ in range(answer.number("i")):
        found.add(answer.string())
        for _ in ("its client", "its host"):
            answer.string()
        for _ in ("its metadata", "what it was assigned"):
            answer.bytes()
    return found


def settle(members, share):
    """Joins all of them into their one group; `share(ids)` gives what each is assigned."""
    for member, metadata in members:
        member.send_join(metadata)
    settled(members, share)


def settle_again(newcomer, members, share):
    """The same for a member more: the others join again once they are told to, and not before."""
    newcomer[0].send_join(newcomer[1])
    members[0][0].hears_of_rebalance()
    for member, metadata in members:
        member.send_join(metadata)
    settled([newcomer, *members], share)


def settled(members, share):
    """All of them have asked to join."""
    for member, _ in members:
        member.joined()
    hands = [member for member, _ in members]
    for member in hands:
        member.send_sync(share([one for one, _ in member.members]) if member.is_leader() else ())
    for member in hands:
        member.assigned = member.synced()
