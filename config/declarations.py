"""What the declaration of a setting says, and how a value is checked against it.

A setting is a field of a dataclass, annotated with one of the kinds here and with `about`.
msgspec checks the limits. This module knows no setting by its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, get_args, get_type_hints

import msgspec
from msgspec import Meta

from keyturn.config.durations import FORMS, parse_duration
from keyturn.config.store_url import WHAT_THERE_IS, StoreURL, is_store
from keyturn.domain.claims import MAX_OVERLAP
from keyturn.domain.errors import SettingsError
from keyturn.domain.limits import check_seconds
from keyturn.domain.secret import Secret

_DAY: Final = 24 * 60 * 60
_BOOLEANS: Final = {
    "true": True,
    "yes": True,
    "1": True,
    "false": False,
    "no": False,
    "0": False,
}

# The kinds of values. A title says what is allowed, for errors.
Text = Annotated[str, Meta(min_length=1, title="text, and not empty")]
StoreText = Annotated[str, Meta(min_length=1, title=f"the URL of a log: {WHAT_THERE_IS}")]
FilePath = Annotated[Path, Meta(title="a path, in UTF-8; a home folder in it (~) must be known")]
Seconds = Annotated[float, Meta(ge=0, title=f"a number ≥ 0 of {FORMS}")]
Wait = Annotated[float, Meta(ge=0, le=_DAY, title=f"a number from 0 to {_DAY} of {FORMS}")]
WholeSeconds = Annotated[
    int, Meta(ge=0, le=MAX_OVERLAP, title=f"a whole number from 0 to {MAX_OVERLAP} of {FORMS}")
]
Count = Annotated[int, Meta(ge=1, le=1000, title="a whole number from 1 to 1000")]
YesOrNo = Annotated[bool, Meta(title=f"one of {', '.join(_BOOLEANS)}")]


def about(description: str, *, unset: str | None = None) -> Meta:
    """Describe a setting; `unset` says what None, its default, comes to."""
    return Meta(description=description, extra={"unset": unset})


@dataclass(frozen=True)
class Declaration:
    """What the declaration of a field says.

    Attributes:
        kind: its type without None, with its limits.
        base: its type without None and without limits.
        may_be_none: whether None is a value of it.
        allowed: which values it may have, for errors.
        default: the value that it has unless somebody says otherwise.
        description: what it is for.
        unset: what a default of None comes to.
    """

    kind: Any
    base: Any
    may_be_none: bool
    allowed: str
    default: Any
    description: str
    unset: str | None

    @property
    def may_be_never(self) -> bool:
        """Return whether text may say None: "never"."""
        return self.may_be_none and self.base is float


def declarations_of(settings: type[Any]) -> dict[str, Declaration]:
    """Return the declarations of a dataclass, by name."""
    hints = get_type_hints(settings, include_extras=True)
    return {
        field.name: _declaration(hints[field.name], field.default)
        for field in dataclasses.fields(settings)
    }


def _declaration(hint: Any, default: object) -> Declaration:
    kind, described = hint, hint.__metadata__[-1]
    members = get_args(get_args(hint)[0])
    may_be_none = NoneType in members
    if may_be_none:
        kind = next(member for member in members if member is not NoneType)
    base = get_args(kind)[0]
    titles = [meta.title for meta in kind.__metadata__ if meta.title]
    return Declaration(
        kind=kind,
        base=base,
        may_be_none=may_be_none,
        allowed=titles[0] if titles else f"one of {', '.join(get_args(base))}",
        default=default,
        description=described.description,
        unset=described.extra["unset"],
    )


def converted(
    declarations: Mapping[str, Declaration], name: str, value: Secret[Any], source: str
) -> Any:
    """Return the value of a setting, checked.

    Args:
        declarations: the settings that there are.
        name: which setting.
        value: what was given: text, or a value of Python or TOML.
        source: where it stood, for the error.

    Raises:
        SettingsError: there is no such setting, or the value is none that it may have.
    """
    setting = declarations.get(name)
    if setting is None:
        message = (
            f"{source} has the unknown setting {name!r}: there are {', '.join(declarations)}"
        )
        raise SettingsError(message, key=name, source=source)
    if setting.may_be_none and value.reveal() is None:
        return None
    if setting.may_be_never and value.reveal() == "never":
        return None
    try:
        return _value_of(setting, value.reveal())
    except (ValueError, RuntimeError):  # RuntimeError: a home folder that nobody knows
        message = f"{name} in {source} must be {setting.allowed}"
        if setting.may_be_never:
            message += ", or never"
        # The cause may show the value, which may be a secret in the wrong place.
        raise SettingsError(message, key=name, source=source) from None


def _value_of(setting: Declaration, value: object) -> Any:
    is_text = isinstance(value, str)
    if setting.base is float:
        value = parse_duration(value) if isinstance(value, str) else check_seconds(value, "it")
    elif setting.kind is WholeSeconds and isinstance(value, str):
        seconds = parse_duration(value)
        value = int(seconds) if seconds.is_integer() else seconds
    elif setting.base is bool and isinstance(value, str):
        value = _BOOLEANS.get(value.lower(), value)
    checked = msgspec.convert(value, setting.kind, strict=not is_text, dec_hook=_path)
    if setting.kind is StoreText:
        if not is_store(checked):
            raise ValueError
        return StoreURL(checked)
    return checked


def _path(_kind: type, value: object) -> Path:
    """Convert what msgspec does not know: a path."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError
    str(value).encode("utf-8")  # raises a ValueError: such a path fits into no URL and no log
    return Path(value).expanduser()
