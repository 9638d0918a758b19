"""The broker dies under idempotent producers, again and again: nothing is lost, nothing doubled, order is kept."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

from . import wire
from .report import check, equal, until

PRODUCERS = ("java-4.4", "confluent", "franz-go")
# Kafka takes seconds for each start.
KILLS = {"folio": 10, "kafka": 2}
# How long it serves between two deaths.
SERVES_S = (0.4, 1.2)
SETTLE_LIMIT_S = 180


def claims(kind, clients, report):
    """One broker of its own, one partition for each producer, all of them at work at the same time."""
    producers = [client for client in clients if client.name in PRODUCERS]
    name = f"{kind.name}::kills::"
    comes_back, keeps = name + "the_broker_dies_under_its_producers_and_comes_back", name + "no_end_that_was_told_is_taken_back"
    for left_out in set(PRODUCERS) - {client.name for client in producers}:
        report.skip(name + of_producer(left_out), f"needs {left_out}")
    if not producers:
        for one in (comes_back, keeps):
            report.skip(one, f"needs one of {', '.join(PRODUCERS)}")
        return
    results = {}
    taken_back = []

    def kill_and_collect():
        broker = kind(is_killed=True)
        drivers = []
        try:
            wire.create_topic(broker.address, "killed", len(producers))
            wire.wait_for(broker.address, "killed", len(producers))
            drivers = [client.drive(broker) for client in producers]
            stop = broker.dir / "stop"
            with ThreadPoolExecutor(len(producers)) as pool:
                streams = [
                    pool.submit(driver.ask, "stream", topic="killed", p=number, stop=str(stop), idempotent=True,
                                limit_s=SETTLE_LIMIT_S * 2, limit_ms=SETTLE_LIMIT_S * 1000)
                    for number, driver in enumerate(drivers)
                ]
                try:
                    die(broker, len(producers), taken_back)
                finally:
                    stop.touch()
                for number, (client, stream) in enumerate(zip(producers, streams)):
                    try:
                        results[client.name] = stream.result(), stored(broker, number)
                    except Exception as error:  # noqa: BLE001: told by the claim of this client
                        results[client.name] = error
        finally:
            for driver in drivers:
                driver.close()
            broker.close()

    report.claim(comes_back, kill_and_collect)
    report.claim(keeps, equal, taken_back, [], "ends before and after a death")
    for client in producers:
        report.claim(name + of_producer(client.name), whole, results, client.name)


def of_producer(name):
    return f"{name}_loses_nothing_and_doubles_nothing"


def die(broker, partitions, taken_back):
    """Kills the broker and starts it, again and again. An end that was told and is not reached any more goes to `taken_back`."""
    fate = random.Random(62)
    for number in range(partitions):
        until(lambda number=number: stored(broker, number), "nothing arrives in partition", number)
    for _ in range(KILLS[broker.name]):
        time.sleep(fate.uniform(*SERVES_S))
        ends = [wire.end_of(broker.address, "killed", number) for number in range(partitions)]
        broker.kill()
        broker.start()
        taken_back.extend((end, now) for end, now in zip(ends, ends_after(broker, partitions)) if now < end)
    time.sleep(1)


def ends_after(broker, partitions):
    """The ends of all partitions, once a broker that was started again leads them."""
    wire.wait_for(broker.address, "killed", partitions, SETTLE_LIMIT_S)
    return [wire.end_of(broker.address, "killed", number) for number in range(partitions)]


def stored(broker, partition):
    return [int(record[3]) for batch in wire.log_of(broker.address, "killed", partition) for record in batch.records]


def whole(results, name):
    check(name in results, "it was not asked")
    if isinstance(results[name], Exception):
        raise results[name]
    told, values = results[name]
    equal(told["acked"], told["sent"], "acknowledged")
    if values != list(range(told["sent"])):
        lost = sorted(set(range(told["sent"])) - set(values))
        seen = set()
        doubled = sorted({value for value in values if value in seen or seen.add(value)})
        check(False, f"{len(lost)} lost {lost[:5]}, {len(doubled)} doubled {doubled[:5]}, of", told["sent"])
