"""What every client with an admin does to topics, and how what cannot be is refused."""

from . import wire
from .clients import Refused
from .report import check, equal, until_equal


def administers(run):
    topic = f"{run.client.name}-administered"
    told = run.client.can("configs")
    run.ask("create", topic=topic, partitions=3, configs={"retention.ms": "86400000"} if told else {})
    wire.wait_for(run.broker.address, topic, 3)
    until_equal(lambda: run.ask("describe", topic=topic)["partitions"], 3, "partitions")
    check(topic in run.ask("topics")["topics"], "the topic is not listed")
    if told:
        configs = run.ask("configs", topic=topic)["configs"]
        equal(configs.get("retention.ms"), "86400000", "retention.ms")
        equal(configs.get("cleanup.policy"), "delete", "cleanup.policy")
        run.ask("alter", topic=topic, configs={"retention.ms": "43200000", "max.message.bytes": "500000"})
        until_equal(lambda: {name: value for name, value in run.ask("configs", topic=topic)["configs"].items()
                             if name in ("retention.ms", "max.message.bytes")},
                    {"retention.ms": "43200000", "max.message.bytes": "500000"}, "altered configuration")
    if run.client.can("grow"):
        run.ask("grow", topic=topic, partitions=5)
        wire.wait_for(run.broker.address, topic, 5)
        until_equal(lambda: run.ask("describe", topic=topic)["partitions"], 5, "partitions after adding two")
    with wire.Peer(run.broker.address) as peer:
        peer.produce(topic, 2, wire.batch([(run.now, b"k", b"v", [])] * 10))
    equal(run.ask("truncate", topic=topic, p=2, before=4)["low"], 4, "low watermark")
    equal(run.ask("offsets", topic=topic, p=2), {"earliest": 4, "latest": 10}, "offsets after records were deleted")
    run.ask("delete", topic=topic)
    until_equal(lambda: topic in run.ask("topics")["topics"], False, "whether the topic is listed")


def refuses(run):
    name = run.client.name
    topic = run.topic("refused", 2)
    told = run.client.can("configs")
    cases = [
        ("a topic that exists", 36, lambda: run.ask("create", topic=topic, partitions=1, configs={})),
        ("a name that cannot be", 17, lambda: run.ask("create", topic=f"{name}/slash", partitions=1, configs={})),
        ("no partitions", 37, lambda: run.ask("create", topic=f"{name}-none", partitions=0, configs={})),
        ("deleting what is not there", 3, lambda: run.ask("delete", topic=f"{name}-missing")),
    ]
    if run.client.can("grow"):
        cases.append(("fewer partitions", 37, lambda: run.ask("grow", topic=topic, partitions=1)))
    if told:
        cases += [
            ("an unknown configuration key", 40,
             lambda: run.ask("create", topic=f"{name}-key", partitions=1, configs={"no.such.key": "1"})),
            ("a value that is none", 40, lambda: run.ask("alter", topic=topic, configs={"retention.ms": "soon"})),
        ]
    cases.append(("records that are not there yet", 1, lambda: run.ask("truncate", topic=topic, p=0, before=7)))
    for what, code, attempt in cases:
        try:
            attempt()
        except Refused as refused:
            check(refused.code == code, what, "is refused with", refused.code, "not", code, refused)
        else:
            check(False, what, "is not refused")


def all_of(run):
    for name, holds in (("it_administers_a_topic_from_its_creation_to_its_end", administers), ("what_cannot_be_is_refused_with_kafkas_code", refuses)):
        if run.client.admin:
            run.claim(name, holds, run)
        else:
            run.report.skip(f"{run.prefix}::{name}", "has no admin requests")
