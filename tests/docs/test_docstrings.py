"""Every public function says what its arguments are and what it returns."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

import keyturn

PACKAGES = ("keyturn", "keyturn.testing", "keyturn.web")


def public_functions() -> Iterator[tuple[str, Any]]:
    """Yield the functions that a package exports, and the methods of its classes."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield f"{package}.{name}", value
            elif inspect.isclass(value):
                yield from methods(f"{package}.{name}", value)


def methods(name: str, owner: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods of a class that are defined in Keyturn."""
    for attribute, member in inspect.getmembers(owner, inspect.isroutine):
        function = getattr(member, "__func__", member)
        is_ours = str(getattr(function, "__module__", "")).startswith("keyturn")
        if is_ours and not attribute.startswith(("_", "on_", "construct_")):
            yield f"{name}.{attribute}", function


def parameters(function: Any) -> list[str]:
    return [
        name for name in inspect.signature(function).parameters if name not in ("self", "cls")
    ]


FUNCTIONS = {
    name: function for name, function in public_functions() if len(parameters(function)) > 1
}


def test_there_are_public_functions() -> None:
    assert len(FUNCTIONS) > 100
    assert keyturn.Service.create_token in FUNCTIONS.values()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_with_several_arguments_says_what_each_is(name: str) -> None:
    function = FUNCTIONS[name]
    said = inspect.getdoc(function) or ""

    unsaid = [
        p for p in parameters(function) if not re.search(rf"^    {p}: ", said, re.MULTILINE)
    ]

    assert not unsaid or re.match(r"See `\w+(\.\w+)?`", said), said


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_returns_something_says_what(name: str) -> None:
    function = FUNCTIONS[name]
    said = inspect.getdoc(function) or ""
    returns = str(inspect.signature(function).return_annotation)

    if returns not in ("None", "<class 'inspect._empty'>"):
        assert re.search(
            r"See `|Returns|[Rr]eturn|[Rr]eply|Yield|Whether|Open a|Start a", said
        ), said
