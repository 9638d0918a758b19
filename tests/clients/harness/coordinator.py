"""What coordinators get wrong: claims about groups and their offsets, byte by byte."""

import threading

from . import wire
from .handmade import HandMember, assignment, settle, settle_again, subscription
from .report import check, equal, until

TOPIC = "coordinated"
PARTITIONS = 4


class Coordinator:
    """A broker, a driver that carries any request as JSON, and a topic to commit about."""

    def __init__(self, broker, driver):
        self.broker, self.driver = broker, driver
        self.address = broker.address

    def prepare(self):
        wire.create_topic(self.address, TOPIC, PARTITIONS)
        wire.wait_for(self.address, TOPIC, PARTITIONS)
        wire.wait_for_groups(self.address)

    def claims(self):
        for holds in ALL:
            yield f"{self.broker.name}::coordinator::{holds.__name__}", holds, self

    def raw(self, api, version, request):
        told = self.driver.ask("raw", api=api, version=version, request=request)
        check("response" in told and told["left"] == 0, api, version, "answers", told)
        return told["response"]

    def commit(self, group, partitions, topic=TOPIC, generation=-1, member="", version=9):
        """Commits as a member, or as nobody's; the code of each partition."""
        request = {"groupId": group, "generationIdOrMemberEpoch": generation, "memberId": member, "groupInstanceId": None, "topics": [
            {"name": topic, "partitions": [{"partitionIndex": number, "committedOffset": offset, "committedLeaderEpoch": epoch,
                                            "committedMetadata": metadata} for number, offset, epoch, metadata in partitions]}]}
        told, = self.raw("OFFSET_COMMIT", version, request)["topics"]
        return {one["partitionIndex"]: one["errorCode"] for one in told["partitions"]}

    def offsets(self, group, numbers, topic=TOPIC):
        """Offset, epoch, metadata and code of each partition."""
        request = {"groups": [{"groupId": group, "memberId": None, "memberEpoch": -1, "topics": [{"name": topic, "partitionIndexes": numbers}]}],
                   "requireStable": False}
        told, = self.raw("OFFSET_FETCH", 9, request)["groups"]
        equal(told["errorCode"], 0, "error of the group")
        return {one["partitionIndex"]: (one["committedOffset"], one["committedLeaderEpoch"], one["metadata"], one["errorCode"])
                for one in told["topics"][0]["partitions"]}

    def described(self, group):
        told, = self.raw("DESCRIBE_GROUPS", 5, {"groups": [group], "includeAuthorizedOperations": False})["groups"]
        return told

    def member(self, group, **options):
        return HandMember(self.address, group, **options)


def what_was_never_committed_is_no_offset_and_no_error(at):
    equal(at.offsets("never-seen", [0, 3]), {number: (-1, -1, "", 0) for number in (0, 3)}, "offsets of an unknown group")
    equal(at.offsets("never-seen", [0], topic="not-there"), {0: (-1, -1, "", 0)}, "offsets in an unknown topic")
    equal(wire.committed(at.address, "never-seen", TOPIC, PARTITIONS), {number: -1 for number in range(PARTITIONS)}, "offsets in version 1")


def metadata_and_epoch_of_a_commit_come_back_and_an_offset_may_go_back(at):
    equal(at.commit("metadata", [(0, 7, 0, "where I was"), (1, 9, -1, "")]), {0: 0, 1: 0}, "codes")
    equal(at.offsets("metadata", [0, 1, 2]), {0: (7, 0, "where I was", 0), 1: (9, -1, "", 0), 2: (-1, -1, "", 0)}, "offsets")
    at.commit("metadata", [(0, 3, -1, None)])
    equal(at.offsets("metadata", [0]), {0: (3, -1, "", 0)}, "an offset that went back")


def of_a_commit_with_an_unknown_partition_the_others_are_kept(at):
    equal(at.commit("partly", [(0, 5, -1, ""), (99, 5, -1, ""), (2, 6, -1, "")]), {0: 0, 99: 3, 2: 0}, "codes")
    equal(at.offsets("partly", [0, 2]), {0: (5, -1, "", 0), 2: (6, -1, "", 0)}, "offsets")


def a_commit_of_another_generation_or_member_is_refused(at):
    member = at.member("fenced")
    settle([(member, subscription(TOPIC))], lambda ids: [(ids[0], assignment(TOPIC, [0]))])
    equal(at.commit("fenced", [(0, 1, -1, "")], generation=member.generation, member=member.id), {0: 0}, "the member's own")
    equal(at.commit("fenced", [(0, 2, -1, "")], generation=member.generation + 1, member=member.id), {0: 22}, "of a generation to come")
    equal(at.commit("fenced", [(0, 2, -1, "")], generation=member.generation, member="somebody"), {0: 25}, "of nobody that is known")
    equal(at.commit("fenced", [(0, 2, -1, "")]), {0: 25}, "of who is no member while there are some")
    equal(at.offsets("fenced", [0])[0][0], 1, "the offset")
    member.leave()
    member.close()


def a_second_member_makes_the_first_join_again_and_both_are_told_what_the_leader_says(at):
    first, second = at.member("two"), at.member("two")
    metadata = subscription(TOPIC)
    settle([(first, metadata)], lambda ids: [(ids[0], assignment(TOPIC, range(PARTITIONS)))])
    equal(first.assigned, assignment(TOPIC, range(PARTITIONS)), "what the first is told")
    settle_again((second, metadata), [(first, metadata)],
                 lambda ids: [(one, assignment(TOPIC, [0, 1] if one == first.id else [2, 3])) for one in ids])
    equal((first.generation, second.generation), (2, 2), "generations")
    equal(first.is_leader(), True, "whether the first leads")
    equal({one for one, _ in first.members}, {first.id, second.id}, "members that the leader knows")
    equal(second.members, [], "members that the other knows")
    equal((first.assigned, second.assigned), (assignment(TOPIC, [0, 1]), assignment(TOPIC, [2, 3])), "what both are told")
    second.leave()
    first.leave()
    first.close()
    second.close()


def any_protocol_type_and_any_metadata_may_join(at):
    for group, protocol_type, metadata in (("connect", "connect", b"\0\x01whatever"), ("registry", "sr", b"{}"),
                                           ("malformed", "consumer", b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff")):
        member = at.member(group)
        member.send_join(metadata, protocol_type, protocols=("own", "other"))
        member.joined()
        equal((member.protocol, member.members), ("own", [(member.id, metadata)]), f"{group}: protocol and members")
        member.send_sync([(member.id, b"yours")])
        equal(member.synced(), b"yours", f"{group}: the assignment")
        member.send_heartbeat()
        member.done()
        told = at.described(group)
        equal((told["groupState"], told["protocolType"], told["protocolData"], len(told["members"])), ("Stable", protocol_type, "own", 1),
              f"{group}: what is told of it")
        other = at.member(group)
        other.send_join(b"", "another type")
        try:
            other.joined()
            check(False, group, "takes a member of another type")
        except wire.Refusal as refusal:
            equal(refusal.code, 23, f"{group}: the code for another type")
        other.close()
        member.leave()
        member.close()


def a_group_with_members_is_not_deleted_and_one_without_is(at):
    member = at.member("deleted")
    settle([(member, subscription(TOPIC))], lambda ids: [(ids[0], assignment(TOPIC, [0]))])
    at.commit("deleted", [(0, 5, -1, "")], generation=member.generation, member=member.id)

    def delete():
        told, = at.raw("DELETE_GROUPS", 2, {"groupsNames": ["deleted"]})["results"]
        return told["errorCode"]

    equal(delete(), 68, "the code while it has a member")
    member.leave()
    equal(at.described("deleted")["groupState"], "Empty", "its state")
    equal(delete(), 0, "the code once it has none")
    equal(at.offsets("deleted", [0])[0][0], -1, "its offset")
    equal(delete(), 69, "the code of what is gone")
    # And it may begin anew.
    again = at.member("deleted")
    settle([(again, subscription(TOPIC))], lambda ids: [(ids[0], assignment(TOPIC, [0]))])
    equal(again.generation, 1, "the generation of the new one")
    again.leave()
    again.close()
    member.close()


def a_group_that_is_deleted_while_others_join_is_there_or_not_and_never_half(at):
    stop = threading.Event()
    deleted = []

    def delete():
        while not stop.is_set():
            told, = at.raw("DELETE_GROUPS", 2, {"groupsNames": ["raced"]})["results"]
            deleted.append(told["errorCode"])

    racing = threading.Thread(target=delete)
    racing.start()
    try:
        for _ in range(30):
            member = at.member("raced")
            settle([(member, subscription(TOPIC))], lambda ids: [(ids[0], assignment(TOPIC, [0]))])
            member.send_heartbeat()
            member.done()
            member.leave()
            member.close()
    finally:
        stop.set()
        racing.join()
    check(set(deleted) <= {0, 68, 69}, "codes of deleting:", sorted(set(deleted)))


def an_offset_is_deleted_where_nobody_reads(at):
    at.commit("trimmed", [(0, 5, -1, ""), (1, 6, -1, "")])
    request = {"groupId": "trimmed", "topics": [{"name": TOPIC, "partitions": [{"partitionIndex": 0}]}]}
    equal(at.raw("OFFSET_DELETE", 0, request)["errorCode"], 0, "error")
    equal({number: told[0] for number, told in at.offsets("trimmed", [0, 1]).items()}, {0: -1, 1: 6}, "offsets")


def the_offsets_of_a_topic_go_with_it(at):
    wire.create_topic(at.address, "goes-away", 1)
    wire.wait_for(at.address, "goes-away", 1)
    at.commit("left-over", [(0, 5, -1, "")], topic="goes-away")
    at.commit("left-over", [(0, 6, -1, "")])
    at.raw("DELETE_TOPICS", 5, {"topics": [], "topicNames": ["goes-away"], "timeoutMs": 30_000})
    until(lambda: at.offsets("left-over", [0], topic="goes-away")[0][0] == -1, "its offset is still told")
    equal(at.offsets("left-over", [0])[0][0], 6, "the offset in another topic")


ALL = [
    what_was_never_committed_is_no_offset_and_no_error,
    metadata_and_epoch_of_a_commit_come_back_and_an_offset_may_go_back,
    of_a_commit_with_an_unknown_partition_the_others_are_kept,
    a_commit_of_another_generation_or_member_is_refused,
    a_second_member_makes_the_first_join_again_and_both_are_told_what_the_leader_says,
    any_protocol_type_and_any_metadata_may_join,
    a_group_with_members_is_not_deleted_and_one_without_is,
    a_group_that_is_deleted_while_others_join_is_there_or_not_and_never_half,
    an_offset_is_deleted_where_nobody_reads,
    the_offsets_of_a_topic_go_with_it,
]
