"""Shows methods that are made from messages as methods with the fields of the message.

These are `reset_key = operation(ResetKey)`, and what `@handles(ResetKey)` stands above.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe

from keyturn.operations import operation


class Operations(griffe.Extension):
    """Takes what such a method takes from the class as it is when it runs."""

    def on_class_members(self, *, cls: griffe.Class, agent: Any, **_: Any) -> None:
        """Give such methods of a class what they take: a hook of griffe."""
        for name, member in list(cls.members.items()):
            if member.is_attribute and "operation(" in str(getattr(member, "value", "")):
                method = _at_run_time(cls, name)
                function = griffe.Function(
                    name,
                    lineno=member.lineno,
                    endlineno=member.endlineno,
                    parameters=_parameters(method),
                )
                text = inspect.cleandoc(method.__doc__)
                function.docstring = griffe.Docstring(
                    text, lineno=member.lineno, parser=agent.docstring_parser, parent=function
                )
                cls.set_member(name, function)
            elif member.is_function and _is_handler(member):
                member.parameters = _parameters(operation(_at_run_time(cls, name).handles))


def _is_handler(function: griffe.Function) -> bool:
    return any("handles(" in str(decorator.value) for decorator in function.decorators)


def _at_run_time(cls: griffe.Class, name: str) -> Any:
    return getattr(getattr(importlib.import_module(cls.module.path), cls.name), name)


def _parameters(method: Any) -> griffe.Parameters:
    return griffe.Parameters(*map(_parameter, inspect.signature(method).parameters.values()))


def _parameter(parameter: inspect.Parameter) -> griffe.Parameter:
    has = inspect.Parameter.empty
    return griffe.Parameter(
        parameter.name,
        annotation=None if parameter.annotation is has else str(parameter.annotation),
        kind=griffe.ParameterKind(parameter.kind.description),
        default=None if parameter.default is has else repr(parameter.default),
    )
