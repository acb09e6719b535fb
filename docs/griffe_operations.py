"""Shows methods that are made from messages (`reset_key = operation(ResetKey)`) as methods."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe


class Operations(griffe.Extension):
    """Takes signature and docstring of such a method from the class as it is when it runs."""

    def on_class_members(self, *, cls: griffe.Class, agent: Any, **_: Any) -> None:
        """Replace the attributes of a class that were made by `operation`: a hook of griffe."""
        for name, member in list(cls.members.items()):
            if not member.is_attribute or "operation(" not in str(getattr(member, "value", "")):
                continue
            method = getattr(getattr(importlib.import_module(cls.module.path), cls.name), name)
            parameters = inspect.signature(method).parameters.values()
            function = griffe.Function(
                name,
                lineno=member.lineno,
                endlineno=member.endlineno,
                parameters=griffe.Parameters(*(_parameter(each) for each in parameters)),
            )
            text = inspect.cleandoc(method.__doc__)
            function.docstring = griffe.Docstring(
                text, lineno=member.lineno, parser=agent.docstring_parser, parent=function
            )
            cls.set_member(name, function)


def _parameter(parameter: inspect.Parameter) -> griffe.Parameter:
    has = inspect.Parameter.empty
    return griffe.Parameter(
        parameter.name,
        annotation=None if parameter.annotation is has else str(parameter.annotation),
        kind=griffe.ParameterKind(parameter.kind.description),
        default=None if parameter.default is has else repr(parameter.default),
    )
