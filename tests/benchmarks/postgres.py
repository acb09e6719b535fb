"""A log in PostgreSQL: how soon another process knows of a reset, and what a token costs."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

import keyturn
from keyturn import Settings
from tests.benchmarks.measure import Figure, compare, figure
from tests.postgres import PostgresServer, find_programs

RESETS = 500

RESETTER = f"""
import sys, time, keyturn
with keyturn.open(path=sys.argv[1], store=sys.argv[2], password=None) as service:
    for _ in range({RESETS}):
        token = service.create_token()
        print(token, flush=True)
        sys.stdin.readline()
        service.reset_key()
        print(time.monotonic(), flush=True)
        sys.stdin.readline()
"""


def postgres_figures(folder: Path) -> Iterator[Figure]:
    """Yield the figures of a server on this machine; none if there are no programs for one."""
    programs = find_programs()
    if programs is None:
        return
    with contextlib.closing(PostgresServer(programs)) as server:
        settings = Settings(path=folder / "postgres", store=server.url())
        with keyturn.open(settings, password=None) as service:
            yield from propagation(service, settings)
            yield verifying(service, folder)
        yield verifying_strictly(settings)


def propagation(service: keyturn.Service, settings: Settings) -> Iterator[Figure]:
    """Measure from the acknowledgement of a reset in one process to its refusal in another."""
    delays = sorted(max(delay, 0.0) for delay in measured_delays(service, settings))
    for what, delay, goal in (
        ("p50", statistics.median(delays), 0.002),
        ("p99", delays[int(len(delays) * 0.99)], 0.012),
    ):
        name = f"a reset known elsewhere, {what}"
        yield figure(name, [(delay, goal)], "at most", goal=1)


def measured_delays(service: keyturn.Service, settings: Settings) -> Iterator[float]:
    """Yield the seconds from each acknowledgement until the token of before is refused here."""
    assert settings.store is not None
    other = subprocess.Popen(
        [sys.executable, "-c", RESETTER, str(settings.path), settings.store],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    for _ in range(RESETS):
        token = other.stdout.readline().strip()
        while not service.verify_token(token):
            pass
        other.stdin.write("go\n")
        other.stdin.flush()
        while service.verify_token(token):
            time.sleep(0)  # as a host has other things to do, too
        refused_at = time.monotonic()
        yield refused_at - float(other.stdout.readline())
        other.stdin.write("on\n")
        other.stdin.flush()
    other.communicate(timeout=30)


def verifying(service: keyturn.Service, folder: Path) -> Figure:
    """Verify by what the server pushed, beside SQLite."""
    token = service.create_token()
    with keyturn.open(path=folder / "data", password=None) as sqlite:
        other = sqlite.create_token()
        return compare(
            "verify, PostgreSQL",
            lambda: service.verify_token(token),
            lambda: sqlite.verify_token(other),
            "verify, SQLite",
        )


def verifying_strictly(settings: Settings) -> Figure:
    """Verify with a look at the log each time, beside a round trip to the server."""
    assert settings.store is not None
    strict = settings.replace({"freshness": "strict"})
    with (
        keyturn.open(strict, password=None) as service,
        psycopg.connect(settings.store, autocommit=True) as connection,
    ):
        token = service.create_token()
        return compare(
            "verify, PostgreSQL, strict",
            lambda: service.verify_token(token),
            lambda: connection.execute("SELECT 1").fetchone(),
            "SELECT 1",
            calls=200,
        )
