"""Kafka's own command-line tools, from its jars, and each side's reader over the other's segments."""

import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from . import wire
from .brokers import Folio
from .handmade import HandMember, assignment, settle, subscription
from .places import KAFKA_JARS, java, program
from .report import check, equal, until

RUN_LIMIT_S = 240
# How long a tool that reads waits for a record.
READS_MS = 120_000
TOOLS = "org.apache.kafka.tools."
# ClientCompatibilityTest cannot be told to wait longer for what it has just written. A busy machine needs more for its first
# fetch of all: then it is asked again, and that is said.
HURRIED, HURRIED_ATTEMPTS = "Timed out after 10000 ms.", 4


class Tools:
    """The tools against one broker."""

    def __init__(self, broker):
        self.broker = broker

    def run(self, tool, *arguments, stdin="", code=0):
        """What the tool prints when it ends with `code`."""
        done = subprocess.run([*java(KAFKA_JARS), TOOLS + tool, *map(str, arguments)], input=stdin, capture_output=True,
                              text=True, timeout=RUN_LIMIT_S)
        if code is not None:
            check(done.returncode == code, tool, "ended with", done.returncode, done.stdout[-1500:], done.stderr[-1500:])
        return done.stdout

    def ask(self, tool, *arguments, **options):
        return self.run(tool, "--bootstrap-server", self.broker.address, *arguments, **options)

    def topic(self, name, records=0, partitions=1):
        name = f"tools-{name}"
        wire.create_topic(self.broker.address, name, partitions)
        wire.wait_for(self.broker.address, name, partitions)
        if records:
            now = int(time.time() * 1000)
            with wire.Peer(self.broker.address) as peer:
                peer.produce(name, 0, wire.batch([(now + at, f"k{at}".encode(), f"v{at}".encode(), [("h", b"x")])
                                                  for at in range(records)]))
        return name

    def claims(self):
        """Name and function of each claim."""
        prefix = f"{self.broker.name}::tools::"
        for name, holds in (
            ("topic_command_creates_describes_alters_lists_and_deletes", self.topics),
            ("config_command_sets_shows_and_removes", self.configs),
            ("config_command_describes_the_broker", self.broker_configs),
            ("get_offset_shell_tells_the_ends_and_the_offset_of_a_time", self.offsets),
            ("delete_records_command_raises_the_start", self.deletes_records),
            ("console_consumer_prints_what_console_producer_read", self.console),
            ("producer_performance_counts_what_it_sent", self.performance),
            ("cluster_log_dirs_and_versions_are_told", self.cluster),
            ("console_consumer_goes_on_where_its_group_was", self.console_group),
            ("consumer_performance_reads_all_as_a_member", self.consumer_performance),
            ("consumer_groups_command_tells_lag_and_members_resets_and_deletes", self.groups),
        ):
            yield prefix + name, holds

    def alone(self):
        """The claim of a tool that gives itself little time."""
        yield f"{self.broker.name}::tools::client_compatibility_test_passes", self.compatibility

    def topics(self):
        topic = "tools-topics"
        self.ask("TopicCommand", "--create", "--topic", topic, "--partitions", 3, "--config", "retention.ms=86400000")
        wire.wait_for(self.broker.address, topic, 3)
        told = self.ask("TopicCommand", "--describe", "--topic", topic)
        for part in ("PartitionCount: 3", "ReplicationFactor: 1", "retention.ms=86400000", "Partition: 2"):
            check(part in told, part, "is not told:", told)
        self.ask("TopicCommand", "--alter", "--topic", topic, "--partitions", 4)
        wire.wait_for(self.broker.address, topic, 4)
        check("PartitionCount: 4" in self.ask("TopicCommand", "--describe", "--topic", topic), "partitions were not added")
        check(topic in self.ask("TopicCommand", "--list").split(), "it is not listed")
        told = self.ask("TopicCommand", "--create", "--topic", topic, code=1)
        check("already exists" in told, "a second creation:", told)
        self.ask("TopicCommand", "--delete", "--topic", topic)
        until(lambda: topic not in self.ask("TopicCommand", "--list").split(), "it is still listed")

    def configs(self):
        topic = self.topic("configs")
        entity = ("--entity-type", "topics", "--entity-name", topic)
        self.ask("ConfigCommand", "--alter", *entity, "--add-config", "max.message.bytes=20000,retention.ms=3600000")
        told = self.ask("ConfigCommand", "--describe", *entity)
        check("max.message.bytes=20000" in told and "retention.ms=3600000" in told, told)
        self.ask("ConfigCommand", "--alter", *entity, "--delete-config", "max.message.bytes")
        told = self.ask("ConfigCommand", "--describe", *entity)
        check("max.message.bytes" not in told and "retention.ms=3600000" in told, told)

    def broker_configs(self):
        told = self.ask("ConfigCommand", "--describe", "--all", "--entity-type", "brokers", "--entity-name", self.node())
        for key in ("message.max.bytes", "log.retention.hours", "num.partitions", "auto.create.topics.enable"):
            check(f" {key}=" in told, key, "is not told")

    def node(self):
        return re.search(r"\(id: (\d+) ", self.ask("BrokerApiVersionsCommand"))[1]

    def offsets(self):
        topic = self.topic("offsets", records=10)
        for moment, offset in ((-2, 0), (-1, 10), (-3, 9), (1, 0)):
            equal(self.ask("GetOffsetShell", "--topic", topic, "--time", moment).strip(), f"{topic}:0:{offset}", f"the offset of {moment}")

    def deletes_records(self):
        topic = self.topic("records", records=10)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 6}]}, file)
            file.flush()
            told = self.ask("DeleteRecordsCommand", "--offset-json-file", file.name)
        check("low_watermark: 6" in told, told)
        equal(self.ask("GetOffsetShell", "--topic", topic, "--time", -2).strip(), f"{topic}:0:6", "the start")

    def console(self):
        topic = self.topic("console")
        self.ask("ConsoleProducer", "--topic", topic, "--reader-property", "parse.key=true", "--reader-property", "key.separator=:",
                 stdin="a:one\nb:two\nc:three\n")
        told = self.ask("consumer.ConsoleConsumer", "--topic", topic, "--partition", 0, "--offset", "earliest", "--max-messages", 3,
                        "--timeout-ms", READS_MS, "--formatter-property", "print.key=true", "--formatter-property", "print.offset=true")
        equal(told.split("\n")[:3], ["Offset:0\ta\tone", "Offset:1\tb\ttwo", "Offset:2\tc\tthree"], "what it prints")

    def console_group(self):
        topic = self.topic("console-group", records=5)

        def told(count):
            said = self.ask("consumer.ConsoleConsumer", "--topic", topic, "--group", "tools-console", "--from-beginning", "--max-messages",
                            count, "--timeout-ms", READS_MS)
            return said.split("\n")[:count]

        equal(told(3), ["v0", "v1", "v2"], "what it prints first")
        equal(told(2), ["v3", "v4"], "and then")

    def consumer_performance(self):
        topic = self.topic("consumer-performance", records=2000)
        told = self.ask("ConsumerPerformance", "--topic", topic, "--num-records", 2000, "--timeout", READS_MS, "--hide-header",
                        "--group", "tools-performance")
        # Start, end, MB, MB/s, records, ...
        equal(told.strip().split("\n")[-1].split(", ")[4], "2000", "records")

    def groups(self):
        topic, group = self.topic("groups", records=10), "tools-groups"

        def ask(*words, **options):
            return self.ask("consumer.group.ConsumerGroupCommand", *words, **options)

        def row():
            """Current offset, end and lag."""
            lines = [line.split() for line in ask("--describe", "--group", group).splitlines()]
            found, = (line for line in lines if line[:3] == [group, topic, "0"])
            return found[3:6]

        self.ask("consumer.ConsoleConsumer", "--topic", topic, "--group", group, "--from-beginning", "--max-messages", 4, "--timeout-ms", READS_MS)
        check(group in ask("--list").split(), "it is not listed")
        equal(row(), ["4", "10", "6"], "offset, end and lag")
        check("Empty" in ask("--describe", "--group", group, "--state"), "its state is not told")
        reset = ("--reset-offsets", "--group", group, "--topic", topic)
        check("10" in ask(*reset, "--to-latest", "--dry-run").split(), "the new offset is not told")
        equal(row(), ["4", "10", "6"], "after a dry run")
        ask(*reset, "--shift-by", -3, "--execute")
        equal(row(), ["1", "10", "9"], "after a shift")
        ask("--delete-offsets", "--group", group, "--topic", topic)
        ask(*reset, "--to-earliest", "--execute")
        equal(row(), ["0", "10", "10"], "after a reset to the beginning")
        with HandMember(self.broker.address, group) as member:
            settle([(member, subscription(topic))], lambda ids: [(ids[0], assignment(topic, [0]))])
            told = ask("--describe", "--group", group, "--members", "--verbose")
            check(member.id in told and f"{topic}:0" in told, "its member is not told:", told)
            told = ask("--delete", "--group", group, code=None)
            check("could not be deleted" in told or "not empty" in told, "it may be deleted while it has a member:", told)
            member.leave()
        ask("--delete", "--group", group)
        check(group not in ask("--list").split(), "it is still listed")

    def performance(self):
        topic = self.topic("performance")
        told = self.ask("ProducerPerformance", "--topic", topic, "--num-records", 20000, "--record-size", 100, "--throughput", -1,
                        "--command-property", "compression.type=lz4")
        check("20000 records sent" in told, told)
        equal(sum(batch.count for batch in wire.log_of(self.broker.address, topic)), 20000, "records in the log")

    def compatibility(self):
        yes = [word for what in ("offsets-for-times", "cluster-id", "create-topics", "describe-acls", "describe-configs",
                                 "idempotent-producer") for word in (f"--{what}-supported", "true")]
        for attempt in range(HURRIED_ATTEMPTS):
            topic = self.topic(f"compatibility-{attempt}")
            told = self.ask("ClientCompatibilityTest", "--topic", topic, *yes, "--num-cluster-nodes", 1,
                            "--expect-record-too-large-exception", "false", code=None)
            if HURRIED not in told:
                break
            print(f"note: {self.broker.name}: ClientCompatibilityTest gave itself too little time, attempt {attempt + 1}: {HURRIED}", flush=True)
        check("SUCCESS" in told, told)

    def cluster(self):
        told = self.run("ClusterTool", "cluster-id", "--bootstrap-server", self.broker.address)
        check("Cluster ID: " in told, told)
        topic = self.topic("dirs", records=10)
        told = self.ask("LogDirsCommand", "--describe", "--topic-list", topic)
        check(f'"partition":"{topic}-0"' in told, told)
        told = self.ask("BrokerApiVersionsCommand")
        check("Produce(0): 0 to 13" in told and "UNSUPPORTED" in told, told)


def segments_of(broker):
    """Topic, file and number of records of what the matrix left, one for each writer."""
    for directory in sorted(Path(broker.log_dir("x")).parent.glob("*-matrix-0")):
        log, = directory.glob("*.log")
        yield directory.name, log, sum(batch.count for batch in wire.batches(log.read_bytes()))


def dumped_by_kafka(broker):
    """DumpLogSegments reads the segments of a stopped broker, every record of them."""
    logs = list(segments_of(broker))
    check(logs, "nobody wrote a segment")
    done = subprocess.run([*java(KAFKA_JARS), TOOLS + "DumpLogSegments", "--files", ",".join(str(log) for _, log, _ in logs),
                           "--deep-iteration", "--print-data-log"],
                          capture_output=True, encoding="latin1", timeout=RUN_LIMIT_S)
    check(done.returncode == 0, done.stdout[-1500:], done.stderr[-1500:])
    for part in done.stdout.split("Dumping ")[1:]:
        log = Path(part.split("\n", 1)[0])
        expected, = (count for _, known, count in logs if known == log)
        equal(len(re.findall(r"^\| offset: ", part, re.M)), expected, f"records in the dump of {log}")
    for trouble in ("isvalid: false", "Found invalid", "Could not"):
        check(trouble not in done.stdout, trouble)


def dumped_by_folio(broker):
    """`folio log dump` reads segments that Kafka wrote, in the place of its own."""
    logs = list(segments_of(broker))
    check(logs, "nobody wrote a segment")
    folio = Folio()
    try:
        for name, _, _ in logs:
            subprocess.run([program("folio"), "--broker", folio.address, "topic", "create", name.removesuffix("-0")], check=True,
                           stdout=subprocess.DEVNULL, timeout=RUN_LIMIT_S)
        folio.stop()
        for name, log, records in logs:
            shutil.copyfile(log, folio.log_dir(name.removesuffix("-0")) / log.name)
            done = subprocess.run([program("folio"), "log", "dump", folio.dir / "data", "--partition", name, "--records",
                                   "--output", "json"], capture_output=True, text=True, timeout=RUN_LIMIT_S)
            check(done.returncode == 0, name, done.stdout[-1500:], done.stderr[-1500:])
            found = sum(json.loads(line)["item"] == "record" for line in done.stdout.splitlines())
            equal(found, records, f"records in the dump of {name}")
    finally:
        folio.close()
