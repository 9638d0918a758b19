"""Whole answers: each request goes to both brokers, encoded and decoded by Kafka's own classes, and the answers are
compared field by field.

What cannot be equal is normalised: ids, addresses, sessions, throttling. What differs all the same has to stand in `KNOWN`.
"""

import re
import time

from . import group_questions, questions, wire
from .report import check

# Where a request or an expected answer means something that each broker calls differently.
ID_OF = "id of "


def _without(why, *keys):
    return [("API_VERSIONS::.*", rf"\.response\.apiKeys\[{key}\]", why) for key in keys]


# (question, path in the answer, why): regular expressions over what differs. The README has the same as a table. One that
# matches nothing any more is a failure, too.
KNOWN = [
    *_without("groups are those of the classic protocol", 68, 69),
    *_without("transactions are not there yet", *range(24, 29), 65, 66),
    *_without("authentication, permissions and quotas are not there yet", 17, 30, 31, 36, *range(38, 42), *range(48, 52)),
    *_without("there is one node and one directory, and no quorum", 34, 45, 57, 64, 80, 81, 94),
    *_without("share groups and streams groups are not there", *range(76, 80), *range(83, 94)),
    *(("API_VERSIONS::.*", rf"\.response\.(supported|finalized)Features\[{name}\.version\]", "what is not there has no feature")
      for name in (r"eligible\.leader\.replicas", "group", "kraft", "share", "streams", "transaction")),
    *(("(DESCRIBE_CONFIGS|CREATE_TOPICS)::.*", rf".*\.configs\[{key}\].*", "keys of Folio's own") for key in ("durability", r"flush\.bytes")),
    ("(DESCRIBE_CONFIGS|CREATE_TOPICS)::.*", r".*\.configs\[min\.insync\.replicas\].(configSource|synonyms.*)",
     "Kafka sets it for the whole cluster when it formats its first node"),
    ("CREATE_TOPICS::(a_topic|defaults)", r".*\.topicId", "a topic that was only asked about has no id"),
    ("INCREMENTAL_ALTER_CONFIGS::an_operation_that_is_none", r".*\.errorCode", "a bad request, where Kafka fails within"),
    ("DESCRIBE_TOPIC_PARTITIONS::two_topics", r".*\[missing\]\.topicAuthorizedOperations", "nobody may do anything with what is not there"),
    ("PRODUCE::a_batch_that_comes_again", r".*\.logAppendTimeMs", "it is answered as it was the first time"),
    ("PRODUCE::a_batch_that_gives_itself_the_time_of_appending", r".*\.(baseOffset|errorCode|recordErrors\[\d\])",
     "Kafka takes it, and then gives its records their own times"),
    ("FIND_COORDINATOR::of_a_transaction.*", r".*\.(errorCode|nodeId)", "transactions are not there yet"),
    ("LIST_GROUPS::.*", r".*\.groups\[same-joined\]", "nothing is left of a group whose only member was refused"),
    ("DELETE_GROUPS::one_whose_last_offset_was_deleted", r".*\[same-emptied\]\.errorCode",
     "nothing is left of it already; Kafka forgets it when it next looks for what has expired"),
    (".*", r".*\.(errorMessage|batchIndexErrorMessage)", "the words are Folio's own, and stand also where Kafka leaves null"),
]


class Sides:
    """Both brokers with the same topics and records, each behind a driver that speaks its answers as JSON."""

    def __init__(self, client, folio, kafka):
        self.sides = {"folio": (folio, client.drive(folio)), "kafka": (kafka, client.drive(kafka))}
        self.ids = {}
        # How many questions were asked, and which of `KNOWN` explained a difference.
        self.asked = 0
        self.needed = set()
        self.now = int(time.time() * 1000) - 3_600_000
        for name, (broker, driver) in self.sides.items():
            self._prepare(broker)
            told = driver.ask("raw", api="METADATA", version=12, request=questions.metadata(None))["response"]
            self.ids[name] = {topic["name"]: topic["topicId"] for topic in told["topics"]}

    def _prepare(self, broker):
        wire.wait_for_groups(broker.address)
        for topic, partitions, configs in questions.TOPICS:
            wire.create_topic(broker.address, topic, partitions, configs)
            wire.wait_for(broker.address, topic, partitions)
        with wire.Peer(broker.address) as peer:
            for topic, first, count in questions.BATCHES:
                peer.produce(topic, 0, wire.batch([(self.now + (first + at) * 1000, b"k", b"v" * 20, [("h", b"x")]) for at in range(count)]))

    def close(self):
        for _, driver in self.sides.values():
            driver.close()

    def ask(self, api, version, request):
        """The normalised answer of each side."""
        answers = {}
        for name, (_, driver) in self.sides.items():
            told = driver.ask("raw", api=api, version=version, request=self._meant(request, name))
            check("malformed" not in told, "the question itself is wrong:", told)
            told.pop("bytes", None)
            answers[name] = self._plain(told, name)
        return answers

    def is_known(self, question, path):
        found = [row for row in KNOWN if re.fullmatch(row[0], question) and re.fullmatch(row[1], path)]
        self.needed.update(found)
        return bool(found)

    def _meant(self, value, side):
        """`id of TOPIC` as the side's own id, `now` and times relative to it as numbers."""
        if isinstance(value, dict):
            return {key: self._meant(one, side) for key, one in value.items()}
        if isinstance(value, list):
            return [self._meant(one, side) for one in value]
        if isinstance(value, str) and value.startswith(ID_OF):
            return self.ids[side][value[len(ID_OF):]]
        if isinstance(value, questions.Moment):
            return self.now + value.seconds * 1000
        return value

    def _plain(self, value, side, key=""):
        if isinstance(value, dict):
            return {name: self._plain(one, side, name) for name, one in value.items() if name not in questions.LEFT_OUT}
        if key == "configResources":
            # Other claims leave other topics.
            value = [one for one in value if one["resourceName"].startswith("same")]
        if key == "groups":
            # And other groups: what lists them tells no error of each.
            value = [one for one in value if "errorCode" in one or one["groupId"].startswith("same")]
        if isinstance(value, list):
            plain = [self._plain(one, side, key) for one in value]
            return sorted(plain, key=_name) if all(isinstance(one, dict) for one in plain) else plain
        if value in self.ids[side].values():
            return "the id of " + next(name for name, held in self.ids[side].items() if held == value)
        if key in ("topicId", "directoryId", "replicaDirectoryId") and value != questions.NO_ID:
            return "an id"
        if key == "timestamp" and isinstance(value, int) and abs(value - self.now) < 86_400_000:
            return f"now + {value - self.now} ms"
        return value


def _name(entry):
    """What a list of Kafka's answers is ordered by, since it has no order of its own."""
    return [str(entry.get(key, "")) for key in (
        "name", "topicName", "topic", "resourceName", "groupId", "apiKey", "partitionIndex", "index", "partition", "topicId")]


def differences(one, other, path=""):
    """Path and both values of each leaf that is not the same."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key, "absent"), other.get(key, "absent"), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and all(isinstance(entry, dict) for entry in one + other):
        named = [{_label(entry, at): entry for at, entry in enumerate(side)} for side in (one, other)]
        for key in sorted(named[0].keys() | named[1].keys()):
            yield from differences(named[0].get(key, "absent"), named[1].get(key, "absent"), f"{path}[{key}]")
    elif one != other:
        yield path, one, other


def _label(entry, at):
    for key in ("name", "topicName", "topic", "resourceName", "groupId", "apiKey"):
        if entry.get(key) not in (None, ""):
            return str(entry[key])
    for key in ("partitionIndex", "index", "partition"):
        if key in entry:
            return str(entry[key])
    return str(at)


def compare(sides, api, name, versions, request):
    found = []
    sides.asked += 1
    for version in versions:
        told = sides.ask(api, version, request)
        question = f"{api}::{name}"
        for path, folio, kafka in differences(told["folio"], told["kafka"]):
            if not sides.is_known(question, path):
                found.append(f"v{version} {path}: {str(folio)[:150]}, Kafka: {str(kafka)[:150]}")
    check(not found, f"{len(found)} differences\n" + "\n".join(found[:600]))


def still_needed(sides):
    stale = [row for row in KNOWN if row not in sides.needed]
    check(not stale, f"{len(stale)} differences are listed and do not differ\n" + "\n".join(map(str, stale)))


def claims(client, folio, kafka, report):
    sides = Sides(client, folio, kafka)
    try:
        for api, name, versions, request in [*questions.ALL, *group_questions.ALL]:
            report.claim(f"answers::{api.lower()}::{name}", compare, sides, api, name, versions, request)
        # A part of the questions shows only a part of the differences.
        if sides.asked == len(questions.ALL) + len(group_questions.ALL):
            report.claim("answers::what_is_listed_as_different_differs", still_needed, sides)
    finally:
        sides.close()
