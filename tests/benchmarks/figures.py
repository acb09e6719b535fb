"""All figures, in the order of the table. A new subject is a module and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import keyturn
from tests.benchmarks.calls import call_figures
from tests.benchmarks.ended import ended_figures
from tests.benchmarks.kit import kit_figures
from tests.benchmarks.managers import manager_figures
from tests.benchmarks.measure import Figure
from tests.benchmarks.messages import message_figures
from tests.benchmarks.postgres import postgres_figures
from tests.benchmarks.record import long_figures, record_figures
from tests.benchmarks.scale import scale_figures
from tests.benchmarks.serve import serve_figures
from tests.benchmarks.starting import starting_figures
from tests.benchmarks.tokens import token_figures
from tests.benchmarks.web import web_figures

MANAGERS, MANY_MANAGERS = 200, 2_000


def all_figures(
    folder: Path, *, is_long: bool = False, only: str | None = None
) -> Iterator[Figure]:
    """Yield every figure, measured in this folder (of the disk that is to be measured).

    Args:
        folder: where.
        is_long: measure long logs and thousands of managers, too.
        only: one subject.
    """
    data = folder / "data"
    keyturn.open(path=data, password=None).close()
    subjects: dict[str, Callable[[], Iterator[Figure]]] = {
        "calls": lambda: call_figures(folder),
        "tokens": lambda: with_service(data, token_figures),
        "ended": lambda: with_service(data, lambda service: ended_figures(service, folder)),
        "messages": lambda: message_figures(data),
        "scale": lambda: with_service(data, lambda service: scale_figures(service, data)),
        "record": lambda: with_service(data, lambda service: record_figures(service, folder)),
        "managers": lambda: manager_figures(folder, count=MANAGERS),
        "postgres": lambda: postgres_figures(folder),
        "web": lambda: with_service(data, lambda service: web_figures(service, data)),
        "serve": lambda: serve_figures(data),
        "starting": starting_figures,
        "kit": lambda: kit_figures(folder),
    }
    if is_long:
        subjects["long"] = lambda: long_figures(folder)
        subjects["managers"] = lambda: manager_figures(folder, count=MANY_MANAGERS)
    for name, figures in subjects.items():
        if only in (None, name):
            yield from figures()


def with_service(
    data: Path, figures: Callable[[keyturn.Service], Iterator[Figure]]
) -> Iterator[Figure]:
    """Yield figures of a service that is open meanwhile."""
    with keyturn.open(path=data, password=None) as service:
        yield from figures(service)
