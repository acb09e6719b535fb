"""A PostgreSQL whose connections are ended under load, and a network that parts two hosts.

[G1, G2]: each reset that was acknowledged is in the log once; what was ended is refused.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import keyturn
from keyturn import KeyturnError, Service
from tests.postgres import PostgresServer
from tests.proxy import Proxy

from .outcome import Outcome, Setting

STALENESS = 0.2


def terminate_connections(setting: Setting, server: PostgresServer) -> Outcome:
    """End the connections of services that reset and verify without a pause."""
    outcome = Outcome("terminated connections, postgresql")
    schema = server.new_schema()
    random_ = random.Random(setting.seed)
    acknowledged: list[str] = []
    unknown: set[str] = set()
    settings = keyturn.Settings(path=setting.folder, store=server.url_of(schema))
    with keyturn.open(settings, password=None) as service:
        services = [service, keyturn.open(settings, password=None)]

        def reset(service: Service, worker: int) -> None:
            number = 0
            while not setting.is_over:
                number += 1
                reason = f"{worker}-{number}"
                try:
                    before = service.create_token()
                except KeyturnError:
                    continue  # the log cannot be read just now
                try:
                    service.reset_key(reason)
                    acknowledged.append(reason)
                    if service.verify_token(before):
                        outcome.bad.append(f"a token from before {reason} is good")
                except KeyturnError as error:
                    if getattr(error, "recorded", None) is not False:
                        unknown.add(reason)
                except Exception as error:
                    outcome.bad.append(repr(error))

        threads = [
            threading.Thread(target=reset, args=(each, number))
            for number, each in enumerate(services * 2)
        ]
        for thread in threads:
            thread.start()
        while not setting.is_over:
            rows = server.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            outcome.hits += len(rows)
            time.sleep(random_.uniform(0.001, 0.1))
        for thread in threads:
            thread.join(60)
            if thread.is_alive():
                outcome.bad.append("a reset hangs")
        services[1].close()
    with keyturn.open(settings, password=None) as service:
        counts = Counter(change.reason for change in service.history())
        if not service.audit().holds:
            outcome.bad.append("the audit does not hold")
    outcome.tried = len(acknowledged) + len(unknown)
    for reason in acknowledged:
        if counts[reason] != 1:
            outcome.bad.append(f"{reason} was acknowledged, and is there {counts[reason]} times")
    for reason in unknown:
        if counts[reason] > 1:
            outcome.bad.append(f"{reason} is there {counts[reason]} times")
    return outcome


def part_two_hosts(setting: Setting, server: PostgresServer) -> Outcome:
    """Part one of two hosts from the server, in two ways, while the other one resets."""
    outcome = Outcome("two hosts and a partition, postgresql")
    schema = server.new_schema()
    common = {"lock_timeout": 0.5, "max_staleness": STALENESS, "path": setting.folder}
    near = keyturn.Settings(store=server.url_of(schema), **common)  # type: ignore[arg-type]
    with Proxy(server.port) as network, keyturn.open(near, password=None) as here:
        far = keyturn.Settings(
            store=server.tcp_url(schema, port=network.port),
            anchor=setting.folder / "far-anchor.json",
            trust_log=True,
            **common,  # type: ignore[arg-type]
        )
        with keyturn.open(far, password=None) as there:
            while not setting.is_over:
                outcome.tried += 1
                _part_once(outcome, here, there, network, is_silent=outcome.tried % 2 == 0)
        if not here.audit().holds:
            outcome.bad.append("the audit does not hold")
    return outcome


def _part_once(
    outcome: Outcome, here: Service, there: Service, network: Proxy, *, is_silent: bool
) -> None:
    token = here.create_token()
    if not _becomes(there, token, True):
        outcome.bad.append("the far host refuses what is good")
    if is_silent:
        network.swallows = True
    else:
        network.refuses = True
        network.cut()
    here.reset_key()
    time.sleep(STALENESS)
    try:
        if there.verify_token(token):
            outcome.bad.append("the far host takes what was ended longer ago than it may")
    except KeyturnError:
        outcome.hits += 1  # it says that it cannot know
    network.swallows = network.refuses = False
    network.cut()
    if not _becomes(there, here.create_token(), True) or _becomes(there, token, True, 0.0):
        outcome.bad.append("the far host did not come back")


def _becomes(service: Service, token: str, verdict: bool, seconds: float = 20.0) -> bool:
    """Wait until a service judges a token so; return whether it did."""
    end = time.monotonic() + seconds
    while True:
        try:
            if service.verify_token(token) is verdict:
                return True
        except KeyturnError:
            pass
        if time.monotonic() >= end:
            return False
        time.sleep(0.005)
