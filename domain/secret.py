"""A password, a key or what holds one, in a box that no printer opens.

Loggers and error trackers print the local variables of a traceback. A public function that is
given a password binds its argument anew (`password = hidden(password)`), so that no frame
of ours keeps the bare text; what derives a key from it, or encrypts, opens the box.
"""

from __future__ import annotations

from typing import Generic, TypeAlias, TypeVar, cast

T = TypeVar("T")


class Secret(Generic[T]):
    """Its text, in any form, is `[secret]`. It can neither be pickled nor copied."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    @classmethod
    def of(cls, value: T | Secret[T]) -> Secret[T]:
        """Return a value in its box; one that is in a box already stays in that."""
        return cast("Secret[T]", value) if isinstance(value, Secret) else cls(value)

    def reveal(self) -> T:
        """Return what is in the box. Keep it in no variable."""
        return self._value

    def __repr__(self) -> str:
        return "[secret]"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret cannot be pickled or copied")


Password: TypeAlias = Secret[str] | str | None
"""A password as it is given; None: there is none."""


def hidden(password: Password) -> Secret[str] | None:
    """Return a password in its box."""
    return None if password is None else Secret.of(password)
