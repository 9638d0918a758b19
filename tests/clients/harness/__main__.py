"""`tests/clients/run`: see there."""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from . import administering, answers, compaction, coordinator, group_kills, groups, kills, scenarios, semantics, sessions, tools
from .brokers import BROKERS
from .clients import CLIENTS
from .places import HERE, build
from .report import Report

PARTS = ("kcat", "python", "node", "java", "go", "rust")
# Clients at work at the same time: they wait more than they compute.
AT_ONCE = 4
# Kafka's own client of the same version speaks for the suite, where a whole request is spelled out.
ORACLE = "java-4.4"


def arguments():
    parser = argparse.ArgumentParser(prog="tests/clients/run", description="Real Kafka clients against a real broker.")
    parser.add_argument("--broker", action="append", choices=list(BROKERS), help="which broker; may be repeated (default: folio)")
    parser.add_argument("--without", action="append", choices=PARTS, default=[], help="leave a toolchain's clients out; they count as skipped")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the claims whose name holds this")
    parser.add_argument("--client", action="append", metavar="NAME", help="only this client; may be repeated")
    return parser.parse_args()


def main():
    asked = arguments()
    brokers = asked.broker or ["folio"]
    if "java" in asked.without and "kafka" in brokers:
        print("run: Kafka itself needs the part java", file=sys.stderr)
        return 2
    without = [word for part in asked.without for word in ("--without", part)]
    if subprocess.run([HERE / "setup", *without]).returncode:
        print("\nfailed: not every client could be installed\n0 passed, 1 failed, 0 skipped")
        return 1
    build()
    report = Report(asked.only)
    clients = []
    for client in CLIENTS:
        if asked.client and client.name not in asked.client:
            continue
        if client.part in asked.without:
            report.skip(client.name, f"left out with --without {client.part}")
        else:
            clients.append(client)
    java = next((client for client in clients if client.name == ORACLE), None)
    running = []
    try:
        for name in brokers:
            running.append(BROKERS[name]())
            against(running[-1], clients, java, report)
        if java and len(running) == 2:
            answers.claims(java, *running, report)
        else:
            report.skip("answers::all_of_them", f"needs {ORACLE}" if not java else "needs both brokers in one run")
        for broker in running:
            broker.stop()
            segments(broker, java, report)
    finally:
        for broker in running:
            broker.close()
    for name in brokers:
        kills.claims(BROKERS[name], clients, report)
        group_kills.claims(BROKERS[name], clients, report)
    return 0 if report.close() else 1


def against(broker, clients, java, report):
    runs = []
    try:
        runs = [scenarios.Run(client, broker, report) for client in clients]
        compaction.write(broker)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one_client, runs))
            written = dict(zip((run.client.name for run in runs), pool.map(attempt(scenarios.write_matrix), runs)))
            list(pool.map(lambda reader: one_reader(reader, runs, written), runs))
            list(pool.map(lambda claim: report.claim(*claim, attempts=broker.attempts), groups.claims(broker, clients, report)))
            list(pool.map(lambda claim: report.claim(*claim), compaction.claims(broker, runs, report)))
            spelled_out(broker, next((run.driver for run in runs if run.client is java), None), pool, report)
    finally:
        for run in runs:
            run.driver.close()


def spelled_out(broker, driver, pool, report):
    """What is asked in Kafka's own classes, or by its tools: without `driver` it is left out."""
    on_the_wire, groups_by_hand = semantics.Semantics(broker, driver), coordinator.Coordinator(broker, driver)
    by_tools = tools.Tools(broker)
    at_once = [*on_the_wire.claims(semantics.ALL), *by_tools.claims()]
    of_groups, alone = list(groups_by_hand.claims()), [*on_the_wire.claims(sessions.ALONE), *by_tools.alone()]
    if driver is None:
        for name, *_ in (*at_once, *of_groups, *alone):
            report.skip(name, f"needs {ORACLE}")
        return
    list(pool.map(lambda claim: report.claim(*claim), at_once))
    groups_by_hand.prepare()
    list(pool.map(lambda claim: report.claim(*claim), of_groups))
    for claim in alone:
        report.claim(*claim)


def segments(broker, java, report):
    """Both readers over what a stopped broker left."""
    reader, holds = ("kafkas_dump", tools.dumped_by_kafka) if broker.name == "folio" else ("folio_log_dump", tools.dumped_by_folio)
    name = f"{broker.name}::segments::{reader}_reads_every_record_of_them"
    if java:
        report.claim(name, holds, broker)
    else:
        report.skip(name, f"needs {ORACLE}")


def one_client(run):
    scenarios.alone(run)
    administering.all_of(run)
    groups.alone(run)


def attempt(what):
    """What it gives, or the exception that it raised."""
    def tried(*arguments):
        try:
            return what(*arguments)
        except Exception as error:  # noqa: BLE001: raised where a claim can carry it
            return error
    return tried


def one_reader(reader, runs, written):
    def reads(writer):
        found = written[writer.client.name]
        if isinstance(found, Exception):
            raise found
        scenarios.read_matrix(reader, writer, *found)

    for writer in runs:
        if writer is not reader:
            reader.claim(f"it_reads_what_{writer.client.name}_writes_byte_for_byte", reads, writer)


sys.exit(main())
