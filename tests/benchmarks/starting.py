"""Beginning: importing the package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.measure import Figure, compare

PEER_IMPORTS = (
    "import pykka, eventsourcing.application, structlog\n"
    "from cryptography.hazmat.primitives.ciphers.aead import AESGCM"
)


def starting_figures() -> Iterator[Figure]:
    """Yield the figure of the import."""
    yield importing()


def importing() -> Figure:
    """Import keyturn, beside the imports of what it stands on."""

    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    return compare(
        "import keyturn",
        lambda: run("from keyturn import open"),
        lambda: run(PEER_IMPORTS),
        "import of what it stands on",
        goal=1.3,
        calls=1,
    )
