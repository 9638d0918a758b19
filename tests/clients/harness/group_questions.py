"""The questions about consumer groups whose whole answers are compared. Of groups that are not there, or that a commit makes."""

GROUP, MEMBER = "same-group", "nobody"
NO_INSTANCE = {"groupInstanceId": None}
SESSION_MS = 30_000


def _versions(first, last):
    return range(first, last + 1)


def _join(group, session_ms=SESSION_MS, protocols=True):
    offered = [{"name": "range", "metadata": ""}] if protocols else []
    return {"groupId": group, "sessionTimeoutMs": session_ms, "rebalanceTimeoutMs": 60_000, "memberId": "", "protocolType": "consumer",
            "protocols": offered, "reason": None} | NO_INSTANCE


def _commit(group, *partitions, generation=-1, member=""):
    return {"groupId": group, "generationIdOrMemberEpoch": generation, "memberId": member, "retentionTimeMs": -1, "topics": [
        {"name": "same", "partitions": [{"partitionIndex": number, "committedOffset": 7, "committedLeaderEpoch": -1, "committedMetadata": "here"}
                                        for number in partitions]}]} | NO_INSTANCE


def _fetch(group, *numbers, topic="same"):
    return {"groupId": group, "topics": [{"name": topic, "partitionIndexes": list(numbers)}], "requireStable": False}


def _fetch_many(group, *numbers):
    return {"groups": [{"groupId": group, "memberId": None, "memberEpoch": -1, "topics": [{"name": "same", "partitionIndexes": list(numbers)}]}],
            "requireStable": False}


ALL = [
    ("FIND_COORDINATOR", "of_a_group", _versions(0, 3), {"key": GROUP, "keyType": 0}),
    ("FIND_COORDINATOR", "of_groups", _versions(4, 6), {"keyType": 0, "coordinatorKeys": [GROUP, "another"]}),
    ("JOIN_GROUP", "without_a_name", _versions(0, 9), _join("")),
    ("JOIN_GROUP", "a_session_that_is_too_short", _versions(0, 9), _join(GROUP, session_ms=10)),
    ("JOIN_GROUP", "without_a_protocol", _versions(0, 9), _join("same-joined", protocols=False)),
    ("SYNC_GROUP", "of_nobody", _versions(0, 4), {"groupId": "same-unmade", "generationId": 1, "memberId": MEMBER, "assignments": []} | NO_INSTANCE),
    ("HEARTBEAT", "of_nobody", _versions(0, 4), {"groupId": "same-unmade", "generationId": 1, "memberId": MEMBER} | NO_INSTANCE),
    ("LEAVE_GROUP", "nobody", _versions(0, 2), {"groupId": "same-unmade", "memberId": MEMBER}),
    ("LEAVE_GROUP", "several_nobodies", _versions(3, 5),
     {"groupId": "same-unmade", "members": [{"memberId": MEMBER, "reason": None} | NO_INSTANCE, {"memberId": "", "groupInstanceId": "i", "reason": None}]}),
    ("OFFSET_COMMIT", "without_a_member", _versions(2, 9), _commit(GROUP, 0)),
    ("OFFSET_COMMIT", "a_partition_that_is_not_there", _versions(2, 9), _commit(GROUP, 0, 99)),
    ("OFFSET_COMMIT", "of_a_member_of_nothing", _versions(2, 9), _commit("same-unmade", 0, generation=3, member=MEMBER)),
    ("OFFSET_FETCH", "what_was_committed", _versions(1, 7), _fetch(GROUP, 0, 1, 99)),
    ("OFFSET_FETCH", "what_was_committed_by_several", _versions(8, 9), _fetch_many(GROUP, 0, 1, 99)),
    ("OFFSET_FETCH", "all_that_was_committed", _versions(2, 7), {"groupId": GROUP, "topics": None, "requireStable": False}),
    ("OFFSET_FETCH", "of_an_unknown_group", _versions(1, 7), _fetch("same-unmade", 0)),
    ("DESCRIBE_GROUPS", "one_of_commits_alone_and_none", _versions(0, 6),
     {"groups": [GROUP, "same-unmade"], "includeAuthorizedOperations": False}),
    ("LIST_GROUPS", "in_a_state_that_none_is_in", _versions(4, 5), {"statesFilter": ["Dead"], "typesFilter": []}),
    ("OFFSET_DELETE", "of_nothing", _versions(0, 0), {"groupId": "same-unmade", "topics": [{"name": "same", "partitions": [{"partitionIndex": 0}]}]}),
    ("DELETE_GROUPS", "one_and_none", _versions(0, 2), {"groupsNames": ["same-unmade"]}),
]
