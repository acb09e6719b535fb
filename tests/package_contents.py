"""Checks what is in the wheel and the sdist: the package `keyturn`, and nothing else.

Run as `python -m tests.package_contents dist`.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

FOLDERS = ("api", "actors", "config", "domain", "projections")


def check(dist: Path) -> None:
    """Raise SystemExit if something is missing, or too much."""
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    modules = {
        path.relative_to("api" if folder == "api" else ".").as_posix()
        for folder in FOLDERS
        for path in Path(folder).rglob("*.py")
    } | {
        "py.typed",
        *(f"report/{name}" for name in ("page.html", "parts.html", "report.css", "report.js")),
    }

    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    package = {name.removeprefix("keyturn/") for name in in_wheel if name.startswith("keyturn/")}
    others = {name for name in in_wheel if not name.startswith(("keyturn/", "keyturn-"))}
    _require(package == modules, f"the wheel's package differs: {sorted(package ^ modules)}")
    _require(not others, f"the wheel holds more than the package: {sorted(others)}")

    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tops = {name.partition("/")[0] for name in names if name}
    allowed = {
        *FOLDERS,
        "PKG-INFO",
        "README.md",
        "MANIFEST.in",
        "pyproject.toml",
        "setup.cfg",
        "keyturn.egg-info",
    }
    _require(tops <= allowed, f"the sdist holds more than it should: {sorted(tops - allowed)}")
    print(f"{wheel.name} and {sdist.name} hold the package and nothing else")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SystemExit(message)


if __name__ == "__main__":
    check(Path(sys.argv[1]))
