"""Errors that leave their frames behind: the variables in them are passwords, keys and tokens.

Some loggers print the local variables of every frame of a traceback.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from keyturn.domain.errors import KeyturnError

P = ParamSpec("P")
R = TypeVar("R")


def without_frames(function: Callable[P, R]) -> Callable[P, R]:
    """Have our own errors leave `function` without the frames that they went through.

    Any other error is a bug, and keeps what helps to find it.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except KeyturnError as raised:
            error = raised
        del args, kwargs
        forget_frames(error)
        raise error

    return call


def forget_frames(error: BaseException | None) -> None:
    """Take the frames from an error, and from those that it came from."""
    while error is not None:
        error.__traceback__ = None
        if error.__cause__ is not error.__context__:
            forget_frames(error.__cause__)
        error = error.__context__
