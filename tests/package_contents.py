"""Checks what is in the wheel and the sdist: the package `keyturn`, and nothing else.

Run as `python -m tests.package_contents dist`.
"""

from __future__ import annotations

import email
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
    licences = [name for name in in_wheel if name.endswith(".dist-info/licenses/LICENSE")]
    _require(len(licences) == 1, "the wheel has no licence")
    (metadata,) = (name for name in in_wheel if name.endswith(".dist-info/METADATA"))
    said = email.message_from_bytes(zipfile.ZipFile(wheel).read(metadata))
    _require(said["License-Expression"] == "Apache-2.0", "the wheel does not say its licence")
    _require("Project-URL" not in said, "the wheel names a URL that there is not")

    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    _require("LICENSE" in names, "the sdist has no licence")
    tops = {name.partition("/")[0] for name in names if name}
    allowed = {
        *FOLDERS,
        "PKG-INFO",
        "LICENSE",
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
