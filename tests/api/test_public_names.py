"""The names of `keyturn` and `keyturn.testing`, each of which is loaded when it is asked for."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import keyturn
import keyturn.testing

PACKAGES = [keyturn, keyturn.testing]


def imports_for_type_checkers(package: ModuleType) -> dict[str, str]:
    """Return the names that the package imports from its modules, with these modules."""
    tree = ast.parse(Path(str(package.__file__)).read_text("utf-8"))
    return {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("keyturn.")
        for alias in node.names
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_what_type_checkers_see_is_what_there_is(package: ModuleType) -> None:
    imported = imports_for_type_checkers(package)

    assert sorted(imported) == sorted(package.__all__)
    for name, module in imported.items():
        assert getattr(package, name) is getattr(import_module(module), name)
        assert name in dir(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_none_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'oepn'"):
        _ = package.oepn


def test_importing_keyturn_loads_none_of_its_modules(
    run_new_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    loaded = run_new_python(
        "import sys, keyturn.testing.plugin\n"
        "print(sorted(name for name in sys.modules if name.startswith('keyturn')))"
    )

    assert loaded.stdout == "['keyturn', 'keyturn.testing', 'keyturn.testing.plugin']\n"
