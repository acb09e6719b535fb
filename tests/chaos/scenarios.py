"""All scenarios, by name."""

from __future__ import annotations

from collections.abc import Callable

from tests.postgres import PostgresServer

from . import interrupts, kills, power_cuts, servers
from .outcome import Outcome, Setting

Scenario = Callable[[Setting, PostgresServer], list[Outcome]]


def _sqlite(setting: Setting) -> str:
    return f"sqlite:///{setting.folder.absolute()}/keyturn.db"


SCENARIOS: dict[str, Scenario] = {
    "kills on SQLite": lambda it, _: kills.kill_changes(it, _sqlite(it)),
    "kills on PostgreSQL": lambda it, server: kills.kill_changes(it, server.url()),
    "interrupts on SQLite": lambda it, _: [interrupts.interrupt(it, _sqlite(it))],
    "interrupts on PostgreSQL": lambda it, server: [interrupts.interrupt(it, server.url())],
    "power cuts": lambda it, _: [power_cuts.cut_power(it)],
    "terminated connections": lambda it, server: [servers.terminate_connections(it, server)],
    "partition": lambda it, server: [servers.part_two_hosts(it, server)],
}
