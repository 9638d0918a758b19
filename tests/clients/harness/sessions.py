"""Fetch sessions: what an answer leaves out, and what a broker keeps for clients that open ever more of them."""

import struct

from . import wire
from .report import check, equal

# Of both brokers, unless they are told otherwise.
SLOTS = 1000
OPENED = 1300
CLOSING = -1


def a_session_tells_only_what_is_new(at):
    topic, other = at.topic("session"), at.topic("session-quiet")
    with at.peer() as peer:
        peer.produce(topic, 0, at.batch(5))
        begun = at.fetch(12, [(topic, 0, 0), (other, 0, 0)], sessionEpoch=0)
        session = begun["sessionId"]
        check(session > 0, "no session")
        equal(sorted(one["topic"] for one in begun["responses"]), [topic, other], "topics of the first answer")
        equal(at.fetch(12, [(topic, 0, 5)], sessionId=session, sessionEpoch=1)["responses"], [], "an answer without news")
        peer.produce(other, 0, at.batch(2))
        told = at.fetch(12, [], sessionId=session, sessionEpoch=2)["responses"]
        equal([one["topic"] for one in told], [other], "topics with news")
    equal(at.fetch(12, [], sessionId=session, sessionEpoch=7)["errorCode"], 71, "the error of a wrong epoch")
    equal(at.fetch(12, [], sessionId=session + 1, sessionEpoch=1)["errorCode"], 70, "the error of an unknown session")


def a_session_repeats_errors_and_forgets_what_it_is_told_to(at):
    topic = at.topic("session-errors")
    with at.peer() as peer:
        peer.produce(topic, 0, at.batch(5))
    session = at.fetch(12, [(topic, 0, 99)], sessionEpoch=0)["sessionId"]
    for epoch in (1, 2):
        told = at.fetch(12, [], sessionId=session, sessionEpoch=epoch)["responses"]
        equal([one["partitions"][0]["errorCode"] for one in told], [1], f"errors at epoch {epoch}")
    forgotten = [{"topic": topic, "topicId": at.topic_id(topic), "partitions": [0]}]
    equal(at.fetch(12, [], sessionId=session, sessionEpoch=3, forgottenTopicsData=forgotten)["responses"], [], "after it was forgotten")


def a_client_that_opens_a_session_with_every_fetch_is_served_and_the_cache_stays_bounded(at):
    topic = at.topic("session-each")
    with at.peer() as peer:
        peer.produce(topic, 0, at.batch(2))
        opened = [_session(peer, topic, 0, 0) for _ in range(OPENED)]
        kept = [session for session in opened if session]
        check(0 < len(kept) <= SLOTS, len(kept), "sessions are kept for", OPENED, "fetches")
        equal(len(set(kept)), len(kept), "sessions that are not another's")
        # Others want some, too.
        for session in kept:
            equal(_session(peer, topic, session, CLOSING), 0, "the session after its last fetch")


def _session(peer, topic, session, epoch):
    """The session that a Fetch of version 7 goes on with; the answer has to hold the topic's records."""
    name = topic.encode()
    peer.send(wire.FETCH, 7, struct.pack(">iiiibiii", -1, 0, 1, 1 << 20, 0, session, epoch, 1) + struct.pack(">h", len(name)) + name
              + struct.pack(">iiqqii", 1, 0, 0, -1, 1 << 20, 0))
    _, answer = peer.receive()
    code, told = struct.unpack_from(">hi", answer, 4)
    equal(code, 0, "error")
    check(len(answer) > 100, "no records in", len(answer), "bytes")
    return told


ALL = [
    a_session_tells_only_what_is_new,
    a_session_repeats_errors_and_forgets_what_it_is_told_to,
]
# What takes all there are: nobody else may need one meanwhile.
ALONE = [
    a_client_that_opens_a_session_with_every_fetch_is_served_and_the_cache_stays_bounded,
]
