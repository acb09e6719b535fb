"""All figures, in the order of the table. A new subject is a module and a line here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyturn
from tests.benchmarks.measure import Figure
from tests.benchmarks.messages import message_figures
from tests.benchmarks.postgres import postgres_figures
from tests.benchmarks.record import record_figures
from tests.benchmarks.scale import scale_figures
from tests.benchmarks.starting import starting_figures
from tests.benchmarks.tokens import token_figures


def all_figures(folder: Path) -> Iterator[Figure]:
    """Yield every figure, measured in this folder (of the disk that is to be measured)."""
    data = folder / "data"
    with keyturn.open(path=data, password=None) as service:
        yield from token_figures(service)
    yield from message_figures(data)
    with keyturn.open(path=data, password=None) as service:
        yield from scale_figures(service, data)
        yield from record_figures(service, folder)
    yield from postgres_figures(folder)
    yield from starting_figures()
