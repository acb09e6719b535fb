"""Beginning: importing the package, and setting up a service for a test."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from keyturn.testing import open_service
from tests.benchmarks.measure import Figure, compare

PEER_IMPORTS = (
    "import pykka, eventsourcing.application, structlog\n"
    "from cryptography.hazmat.primitives.ciphers.aead import AESGCM"
)


def starting_figures() -> Iterator[Figure]:
    """Yield the figures of a test's fixture and of the import."""
    yield fixture()
    yield importing()


def fixture() -> Figure:
    """Set up and tear down what the fixture `keyturn_service` is, beside the 5 ms it may take."""
    return compare(
        "keyturn_service, a test",
        lambda: open_service().close(),
        lambda: time.sleep(0.005),
        "asleep",
        goal=1,
        calls=20,
    )


def importing() -> Figure:
    """Import keyturn, beside the imports of what it stands on."""

    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    return compare(
        "import keyturn",
        lambda: run("import keyturn"),
        lambda: run(PEER_IMPORTS),
        "import of what it stands on",
        goal=1.3,
        calls=1,
    )
