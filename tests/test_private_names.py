"""No part of Keyturn leans on what the libraries under it keep to themselves."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pykka
import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ["actors", "api", "config", "domain", "projections"]
LIBRARIES = {"click", "eventsourcing", "psycopg", "pykka", "rich", "structlog"}
HOOKS = {"_create_future", "_create_actor_inbox", "_start_actor_loop"}
"""Of pykka: documented for whoever makes a new type of actor."""


def private_names(source: str) -> list[str]:
    """Return the private names of libraries that a module imports, uses or overrides."""
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    theirs = {name for node in imports for name in names_from_libraries(node)}
    found = [name for node in imports for name in private_imports(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and root(node) in theirs:
            found.append(ast.unparse(node))
    return found


def names_from_libraries(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield the names that an import of a library binds."""
    for alias in node.names:
        module = alias.name if isinstance(node, ast.Import) else node.module or ""
        if module.partition(".")[0] in LIBRARIES:
            yield alias.asname or alias.name.partition(".")[0]


def private_imports(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield the private modules and names that are imported from a library."""
    for alias in node.names:
        path = [] if isinstance(node, ast.Import) else (node.module or "").split(".")
        path += alias.name.split(".")
        if path[0] in LIBRARIES and any(is_private(part) for part in path):
            yield ".".join(path)


def borrowed_names(kind: type) -> list[str]:
    """Return the private names of its bases in a library that a class overrides or uses."""
    bases = [base for base in kind.__mro__ if base.__module__.partition(".")[0] in LIBRARIES]
    theirs = {name for base in bases for name in names_of(base)}
    return sorted(f"{kind.__name__}.{name}" for name in names_of(kind) & theirs)


@functools.cache
def names_of(kind: type) -> set[str]:
    """Return the private names that a class defines, or takes from itself or from its base."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):  # it is written in C
        return {name for name in vars(kind) if is_private(name)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        if isinstance(node, ast.Attribute) and root(node.value) in {"self", "cls", "super"}:
            found.add(node.attr)
    return {name for name in found if is_private(name)}


def classes_of(path: Path) -> list[type]:
    """Import a module of ours, and return the classes that it defines."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "api" else parts
    name = ".".join(["keyturn", *(part for part in parts if part != "__init__")])
    if name == "keyturn.__main__":
        return []
    module = importlib.import_module(name)
    kinds = [value for value in vars(module).values() if isinstance(value, type)]
    return [kind for kind in kinds if kind.__module__ == name and hasattr(kind, "__mro__")]


def root(node: ast.expr) -> str | None:
    """Return the name that an expression begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in HOOKS


def private_names_of(path: Path) -> list[str]:
    borrowed = [name for kind in classes_of(path) for name in borrowed_names(kind)]
    return private_names(path.read_text()) + borrowed


def modules() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_uses_no_private_name_of_a_library(path: Path) -> None:
    assert private_names_of(path) == []


@pytest.mark.parametrize(
    "source",
    [
        "from pykka._envelope import Envelope",
        "from pykka.messages import _ActorStop",
        "import pykka._actor",
        "import pykka\npykka.ActorRegistry._actor_refs_lock",
        "import pykka as p\nx = p.Actor._stop",
        "from eventsourcing.sqlite import SQLiteDatastore as S\nS('a')._pool",
        "def f():\n from rich import _windows",
    ],
)
def test_a_private_name_is_found(source: str) -> None:
    assert private_names(source)


@pytest.mark.parametrize(
    "source",
    [
        "from keyturn.domain.x import _y",
        "import pykka\npykka.Actor._create_future",
        "import pykka\npykka.__version__",
        "import sqlite3\nsqlite3._x",
    ],
)
def test_what_is_public_or_ours_is_not(source: str) -> None:
    assert not private_names(source)


class Overrides(pykka.ThreadingActor):
    def _stop(self) -> None:
        pass


class Uses(pykka.ThreadingActor):
    def on_start(self) -> None:
        self._actor_ref.tell(super()._stop)


class KeepsToItself(pykka.ThreadingActor):
    @staticmethod
    def _create_future() -> pykka.Future[object]:
        return pykka.ThreadingFuture()

    def on_start(self) -> None:
        self._mine = self.actor_urn


@pytest.mark.parametrize(
    ("kind", "borrowed"),
    [
        (Overrides, ["Overrides._stop"]),
        (Uses, ["Uses._actor_ref", "Uses._stop"]),
        (KeepsToItself, []),
    ],
)
def test_a_private_name_of_a_base_is_found(kind: type, borrowed: list[str]) -> None:
    assert borrowed_names(kind) == borrowed
