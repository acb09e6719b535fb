"""Print the figures as a table: `python -m tests.benchmarks`, in about four minutes.

With `--long` also those of long logs and of thousands of managers, in about a quarter of an hour.

A goal with ≥ is of how many times quicker than its peer ours is, one with ≤ of how many times as
long it takes.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import sqlite3
import tempfile
from pathlib import Path

from tests.benchmarks.figures import all_figures
from tests.benchmarks.measure import Figure

PAGE = Path(__file__).parent.parent.parent / "docs" / "speed.md"
MARK = "<!-- benchmarks -->"


def main() -> None:
    """Measure in a folder of the working directory, whose disk it is about."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--page", action="store_true", help="put the table into docs/speed.md")
    parser.add_argument("--long", action="store_true", help="measure long logs, too")
    parser.add_argument("--only", help="one subject: calls, ended, tokens, …")
    arguments = parser.parse_args()
    # Processes read compiled modules, as those of an installed package do.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    lines = [
        "| what | Keyturn | peer | ratio | goal |",
        "|---|---:|---|---:|---:|",
    ]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".benchmark-") as folder:
        for figure in all_figures(Path(folder), is_long=arguments.long, only=arguments.only):
            lines.append(row(figure))
            print(lines[-1], flush=True)
    lines.append("")
    lines.append(
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} CPUs ({cpu_model()})."
    )
    print("\n".join(lines[-2:]))
    if arguments.page:
        before, _, _ = PAGE.read_text("utf-8").partition(MARK)
        PAGE.write_text(f"{before}{MARK}\n" + "\n".join(lines) + "\n", "utf-8")


def row(figure: Figure) -> str:
    """Return a figure as a row of the table."""
    sign = "≥" if figure.is_speedup else "≤"
    goal = "" if figure.goal is None else f"{sign} {figure.goal:g}"
    met = "" if figure.is_met else " (missed)"
    return (
        f"| {figure.what} | {amount(figure.ours, figure.unit)} | {figure.peer_name}: "
        f"{amount(figure.peer, figure.unit)} | {figure.ratio:.2f} × | {goal}{met} |"
    )


def cpu_model() -> str:
    """Return what the processor calls itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def amount(value: float, unit: str) -> str:
    """Return what was measured; seconds in the unit that reads best."""
    if unit != "s":
        return f"{value:,.0f} {unit}".rstrip()
    if value >= 1:
        return f"{value:.1f} s"
    if value < 1e-3:
        return f"{value * 1e6:.1f} µs"
    return f"{value * 1e3:.1f} ms"


main()
