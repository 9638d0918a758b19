"""The questions about consumer groups whose whole answers are compared. Of groups that are not there, or that a commit makes."""

from .questions import MISSING, UNKNOWN_ID

GROUP, MEMBER, UNMADE, EMPTIED = "same-group", "nobody", "same-unmade", "same-emptied"
NO_INSTANCE = {"groupInstanceId": None}
SESSION_MS = 30_000
# One more than Kafka and Folio keep of a commit's own words, and one more than a session may last.
TOO_LONG = "x" * 4097
SESSION_TOO_LONG_MS = 1_800_001


def _versions(first, last):
    return range(first, last + 1)


JOIN, SYNC, HEARTBEAT, LEAVE = _versions(0, 9), _versions(0, 5), _versions(0, 4), _versions(0, 2)
LEAVE_SEVERAL, COMMIT, DESCRIBE, DELETE = _versions(3, 5), _versions(2, 10), _versions(0, 6), _versions(0, 2)
FETCH_ONE, FETCH_SEVERAL = _versions(1, 7), _versions(8, 10)
GROUPS, TRANSACTIONS, SHARES, NO_KIND = 0, 1, 2, 9


def _coordinator(what, kind, key, first=1):
    """Of one key, alone and, in the versions that ask for several, as one of them."""
    yield "FIND_COORDINATOR", what, _versions(first, 3), {"key": key, "keyType": kind}
    yield "FIND_COORDINATOR", f"{what}_among_several", _versions(4, 6), {"keyType": kind, "coordinatorKeys": [key, "another"]}


def _join(group, session_ms=SESSION_MS, protocols=("range",), member="", instance=None):
    return {"groupId": group, "sessionTimeoutMs": session_ms, "rebalanceTimeoutMs": 60_000, "memberId": member, "groupInstanceId": instance,
            "protocolType": "consumer", "protocols": [{"name": name, "metadata": ""} for name in protocols], "reason": None}


def _sync(group, member=MEMBER, instance=None):
    return {"groupId": group, "generationId": 1, "memberId": member, "groupInstanceId": instance, "protocolType": "consumer",
            "protocolName": "range", "assignments": []}


def _heartbeat(group, member=MEMBER, instance=None):
    return {"groupId": group, "generationId": 1, "memberId": member, "groupInstanceId": instance}


def _leave_several(group, *members):
    return {"groupId": group, "members": [{"memberId": member, "groupInstanceId": instance, "reason": None} for member, instance in members]}


def _topic(topic):
    """By its name and, as the last versions want it, by its id."""
    return {"name": topic, "topicId": UNKNOWN_ID if topic == MISSING else "id of " + topic}


def _commit(group, *partitions, generation=-1, member="", instance=None, topics=("same",), metadata="here"):
    return {"groupId": group, "generationIdOrMemberEpoch": generation, "memberId": member, "groupInstanceId": instance, "retentionTimeMs": -1,
            "topics": [_topic(topic) | {"partitions": [
                {"partitionIndex": number, "committedOffset": 7, "committedLeaderEpoch": -1, "committedMetadata": metadata}
                for number in partitions]} for topic in topics]}


def _fetch(group, *numbers, topics=("same",)):
    return {"groupId": group, "topics": [{"name": topic, "partitionIndexes": list(numbers)} for topic in topics], "requireStable": False}


def _fetch_several(*groups, numbers=(0, 1, 99), topics=("same",), member=None, epoch=-1, stable=False):
    """`topics`: None for all."""
    wanted = None if topics is None else [_topic(topic) | {"partitionIndexes": list(numbers)} for topic in topics]
    return {"groups": [{"groupId": group, "memberId": member, "memberEpoch": epoch, "topics": wanted} for group in groups],
            "requireStable": stable}


def _describe(*groups, operations=False):
    return {"groups": list(groups), "includeAuthorizedOperations": operations}


def _list(states=(), types=()):
    return {"statesFilter": list(states), "typesFilter": list(types)}


def _offset_delete(group, *partitions, topic="same"):
    return {"groupId": group, "topics": [{"name": topic, "partitions": [{"partitionIndex": number} for number in partitions]}]}


ALL = [
    *_coordinator("of_a_group", GROUPS, GROUP, first=0),
    *_coordinator("of_a_group_without_a_name", GROUPS, "", first=0),
    ("FIND_COORDINATOR", "of_nothing", _versions(4, 6), {"keyType": GROUPS, "coordinatorKeys": []}),
    *_coordinator("of_a_transaction", TRANSACTIONS, "same-transaction"),
    *_coordinator("of_a_share_group", SHARES, GROUP),
    *_coordinator("of_no_kind", NO_KIND, GROUP),

    ("JOIN_GROUP", "without_a_name", JOIN, _join("")),
    ("JOIN_GROUP", "a_session_that_is_too_short", JOIN, _join(GROUP, session_ms=10)),
    ("JOIN_GROUP", "a_session_that_is_too_long", JOIN, _join(GROUP, session_ms=SESSION_TOO_LONG_MS)),
    ("JOIN_GROUP", "without_a_protocol", JOIN, _join("same-joined", protocols=())),
    ("JOIN_GROUP", "a_member_of_nothing", JOIN, _join(UNMADE, member=MEMBER)),
    ("JOIN_GROUP", "a_member_that_its_group_does_not_know", JOIN, _join(GROUP, member=MEMBER)),
    ("JOIN_GROUP", "an_instance_that_is_another_member", _versions(5, 9), _join(UNMADE, member=MEMBER, instance="one")),
    *(question for group, what in ((UNMADE, "of_nobody"), ("", "without_a_name")) for question in (
        ("SYNC_GROUP", what, SYNC, _sync(group)),
        ("HEARTBEAT", what, HEARTBEAT, _heartbeat(group)),
        ("LEAVE_GROUP", what, LEAVE, {"groupId": group, "memberId": MEMBER}),
        ("LEAVE_GROUP", f"several_{what}", LEAVE_SEVERAL, _leave_several(group, (MEMBER, None), ("", "i"))))),
    ("SYNC_GROUP", "an_instance_of_nobody", _versions(3, 5), _sync(UNMADE, instance="one")),
    ("SYNC_GROUP", "without_a_member", SYNC, _sync(UNMADE, member="")),
    ("HEARTBEAT", "an_instance_of_nobody", _versions(3, 4), _heartbeat(UNMADE, instance="one")),
    ("HEARTBEAT", "without_a_member", HEARTBEAT, _heartbeat(UNMADE, member="")),
    ("LEAVE_GROUP", "nobody_at_all", LEAVE_SEVERAL, _leave_several(UNMADE)),

    ("OFFSET_COMMIT", "without_a_member", COMMIT, _commit(GROUP, 0)),
    ("OFFSET_COMMIT", "a_partition_that_is_not_there", COMMIT, _commit(GROUP, 0, 99, -1)),
    ("OFFSET_COMMIT", "an_unknown_topic", COMMIT, _commit(GROUP, 0, topics=(MISSING, "same"))),
    ("OFFSET_COMMIT", "of_a_member_of_nothing", COMMIT, _commit(UNMADE, 0, generation=3, member=MEMBER)),
    ("OFFSET_COMMIT", "of_a_generation_of_nothing", COMMIT, _commit(UNMADE, 0, generation=3)),
    ("OFFSET_COMMIT", "of_a_generation_that_its_group_never_had", COMMIT, _commit(GROUP, 0, generation=3)),
    ("OFFSET_COMMIT", "of_a_member_that_its_group_does_not_know", COMMIT, _commit(GROUP, 0, generation=3, member=MEMBER)),
    ("OFFSET_COMMIT", "of_an_instance_that_its_group_does_not_know", _versions(7, 10),
     _commit(GROUP, 0, generation=3, member=MEMBER, instance="one")),
    ("OFFSET_COMMIT", "words_that_are_too_long", COMMIT, _commit(GROUP, 1, metadata=TOO_LONG)),
    ("OFFSET_COMMIT", "words_that_are_just_short_enough", COMMIT, _commit(GROUP, 1, metadata=TOO_LONG[1:])),
    ("OFFSET_COMMIT", "without_words", COMMIT, _commit(GROUP, 0, metadata=None)),
    ("OFFSET_COMMIT", "of_a_group_without_a_name", COMMIT, _commit("", 0)),
    ("OFFSET_COMMIT", "the_only_one_of_a_group", COMMIT, _commit(EMPTIED, 0)),
    ("OFFSET_COMMIT", "nothing", COMMIT, _commit("same-nothing", topics=())),

    ("OFFSET_FETCH", "what_was_committed", FETCH_ONE, _fetch(GROUP, 0, 1, 99)),
    ("OFFSET_FETCH", "all_that_was_committed", _versions(2, 7), {"groupId": GROUP, "topics": None, "requireStable": False}),
    ("OFFSET_FETCH", "of_an_unknown_group", FETCH_ONE, _fetch(UNMADE, 0)),
    ("OFFSET_FETCH", "all_of_an_unknown_group", _versions(2, 7), {"groupId": UNMADE, "topics": None, "requireStable": False}),
    ("OFFSET_FETCH", "an_unknown_topic", FETCH_ONE, _fetch(GROUP, 0, topics=(MISSING, "same"))),
    ("OFFSET_FETCH", "of_a_group_without_a_name", FETCH_ONE, _fetch("", 0)),
    ("OFFSET_FETCH", "nothing", FETCH_ONE, _fetch(GROUP, topics=())),
    ("OFFSET_FETCH", "what_was_committed_by_several", FETCH_SEVERAL, _fetch_several(GROUP, UNMADE)),
    ("OFFSET_FETCH", "all_that_was_committed_by_several", FETCH_SEVERAL, _fetch_several(GROUP, UNMADE, topics=None)),
    ("OFFSET_FETCH", "an_unknown_topic_of_several", FETCH_SEVERAL, _fetch_several(GROUP, UNMADE, topics=(MISSING, "same"))),
    ("OFFSET_FETCH", "what_stands_for_several", FETCH_SEVERAL, _fetch_several(GROUP, UNMADE, stable=True)),
    ("OFFSET_FETCH", "of_several_without_a_name", FETCH_SEVERAL, _fetch_several("", topics=None)),
    ("OFFSET_FETCH", "of_no_group", FETCH_SEVERAL, _fetch_several()),
    ("OFFSET_FETCH", "of_a_member_that_its_group_does_not_know", _versions(9, 10), _fetch_several(GROUP, UNMADE, member=MEMBER, epoch=3)),

    ("DESCRIBE_GROUPS", "one_of_commits_alone_and_none", DESCRIBE, _describe(GROUP, UNMADE)),
    ("DESCRIBE_GROUPS", "without_a_name", DESCRIBE, _describe("same-unnamed", "")),
    ("DESCRIBE_GROUPS", "with_what_may_be_done", _versions(3, 6), _describe(GROUP, UNMADE, operations=True)),
    ("DESCRIBE_GROUPS", "none", DESCRIBE, _describe()),
    ("LIST_GROUPS", "all", _versions(0, 5), _list()),
    *(("LIST_GROUPS", f"in_{what}", _versions(4, 5), _list(states=states)) for what, states in (
        ("a_state", ["Empty"]), ("a_state_in_other_letters", ["eMPTY"]), ("two_states", ["Stable", "Empty"]),
        ("a_state_that_none_is_in", ["Dead"]), ("a_state_that_cannot_be", ["Asleep"]))),
    *(("LIST_GROUPS", f"of_{what}", _versions(5, 5), _list(types=types)) for what, types in (
        ("a_type", ["classic"]), ("a_type_in_other_letters", ["Classic"]), ("a_type_that_none_has", ["consumer"]),
        ("a_type_that_cannot_be", ["own"]))),

    ("OFFSET_DELETE", "of_nothing", _versions(0, 0), _offset_delete(UNMADE, 0)),
    ("OFFSET_DELETE", "of_a_group_without_a_name", _versions(0, 0), _offset_delete("", 99)),
    ("OFFSET_DELETE", "what_is_there_and_what_is_not", _versions(0, 0), _offset_delete(GROUP, 0, 99)),
    ("OFFSET_DELETE", "an_unknown_topic", _versions(0, 0), _offset_delete(GROUP, 0, topic=MISSING)),
    ("OFFSET_DELETE", "the_last_of_a_group", _versions(0, 0), _offset_delete(EMPTIED, 0)),
    ("DELETE_GROUPS", "none", DELETE, {"groupsNames": [UNMADE]}),
    ("DELETE_GROUPS", "one_whose_last_offset_was_deleted", DELETE, {"groupsNames": [EMPTIED]}),
    ("DELETE_GROUPS", "without_a_name", DELETE, {"groupsNames": [""]}),
    ("DELETE_GROUPS", "nothing", DELETE, {"groupsNames": []}),
    # There is one in the first version that asks.
    ("DELETE_GROUPS", "one_and_none", DELETE, {"groupsNames": [GROUP, UNMADE]}),
]
