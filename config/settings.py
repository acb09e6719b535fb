"""Where values come from: arguments over environment over a TOML file over defaults.

The password is no setting: it is asked for by `find_password`, and is kept nowhere.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec import UNSET, UnsetType

from keyturn.config import files
from keyturn.config.files import WiderMode
from keyturn.config.store_url import SQLITE, WHAT_THERE_IS, StoreURL, is_store
from keyturn.domain.errors import SettingsError
from keyturn.domain.rotation import RotationPolicy

PREFIX = "KEYTURN_"
NOT_SETTINGS = frozenset({"KEYTURN_CONFIG", "KEYTURN_PASSWORD"})
"""Variables with our prefix that are read elsewhere."""

_PASSWORD_LIMIT = 4096
_LONGEST_WAIT = 24 * 60 * 60.0
_MAY_BE_NONE = frozenset(
    {
        "path",
        "store",
        "anchor",
        "expiry",
        "max_lifetime",
        "rotate_every",
        "overlap",
        "password_file",
        "initiator",
    }
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a service. Each is described in the README's table.

    Attributes:
        path: the data folder; None: the platform's.
        store: the URL of the log; None: `keyturn.db` in the data folder.
        anchor: the file of the anchor; None: in the data folder, or, if that is the
            platform's, in the platform's folder for state.
        name: which manager of the log.
        expiry: seconds that a token lives unless told otherwise; None: for ever.
        max_lifetime: seconds that a session may last, however often refreshed; None: for ever.
        rotate_every: seconds after which the key is rotated with nobody asking; None: never.
        overlap: whole seconds that tokens under such a key stay good then; None: as long as a
            token lives.
        password_file: a file that holds the password of the key ring.
        initiator: who is recorded unless told otherwise; None: `user@host`.
        lock_timeout: seconds to wait for another process that writes to the log, or for a server.
        freshness: "bounded": what PostgreSQL pushes counts, within `max_staleness`; "strict": the
            log is read for each token. SQLite is always asked, which costs nothing.
        max_staleness: seconds within which every process refuses what another has ended.
        pool_size: how many connections to PostgreSQL may be in use at once; one more listens.
        log_level: of the command line: debug, info, warning or error.
    """

    path: Path | None = None
    store: str | None = None
    anchor: Path | None = None
    name: str = "default"
    expiry: float | None = 24 * 60 * 60.0
    max_lifetime: float | None = None
    rotate_every: float | None = None
    overlap: int | None = None
    password_file: Path | None = None
    initiator: str | None = None
    lock_timeout: float = 5.0
    freshness: str = "bounded"
    max_staleness: float = 1.0
    pool_size: int = 4
    log_level: str = "warning"

    def __post_init__(self) -> None:
        for name, parse in _PARSERS.items():
            value = getattr(self, name)
            if value is not None or name not in _MAY_BE_NONE:
                object.__setattr__(self, name, parse(name, value, "the arguments"))
        RotationPolicy.of(self.rotate_every, self.overlap, self.expiry, "the settings")

    @classmethod
    def load(
        cls,
        explicit: Mapping[str, object] | None = None,
        *,
        config: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """Return the settings from all sources.

        Args:
            explicit: what the caller says; values of `msgspec.UNSET` count as not said.
            config: a TOML file; None: the one that `KEYTURN_CONFIG` names, if any.
            environ: the environment; None: that of the process.

        Raises:
            SettingsError: a key is unknown or a value is bad; it says which, and from where.
        """
        environ = os.environ if environ is None else environ
        config = environ.get("KEYTURN_CONFIG") if config is None else config
        values: dict[str, Any] = {}
        if config:
            values |= _from_file(Path(config))
        values |= _from_environment(environ)
        for name, value in (explicit or {}).items():
            if value is not UNSET:
                values[_known(name, "the arguments")] = value
        return cls(**values)

    def replace(self, explicit: Mapping[str, object]) -> Settings:
        """Return these settings with others in place of some; UNSET leaves one as it is."""
        values = {name: value for name, value in explicit.items() if value is not UNSET}
        return replace(self, **values)  # type: ignore[arg-type]

    @property
    def data_folder(self) -> Path:
        """Where the data is."""
        if self.path is not None:
            return self.path
        from platformdirs import user_data_path

        return user_data_path("keyturn", appauthor=False)

    @property
    def key_ring_path(self) -> Path:
        return self.data_folder / "keyring.json"

    @property
    def store_url(self) -> str:
        if self.store is not None:
            return self.store
        return f"{SQLITE}{quote(str(self.data_folder / 'keyturn.db'))}"

    @property
    def anchor_path(self) -> Path:
        if self.anchor is not None:
            return self.anchor
        if self.path is not None:
            return self.path / "anchor.json"
        from platformdirs import user_state_path

        return user_state_path("keyturn", appauthor=False) / "anchor.json"


def find_password(
    settings: Settings,
    explicit: str | None | UnsetType = UNSET,
    environ: Mapping[str, str] | None = None,
) -> str | None | UnsetType:
    """Return the password: the argument, or `KEYTURN_PASSWORD`, or what the password file holds.

    None means explicitly none, UNSET that nobody said anything.

    Raises:
        SettingsError: the password file cannot be read.
    """
    if explicit is not UNSET:
        return explicit
    environ = os.environ if environ is None else environ
    if "KEYTURN_PASSWORD" in environ:
        return environ["KEYTURN_PASSWORD"]
    if settings.password_file is None:
        return UNSET
    path = settings.password_file
    try:
        # Container secrets are links, and root's: neither is for us to judge.
        content = files.read_private(
            path.resolve(), limit=_PASSWORD_LIMIT, wider_mode=WiderMode.IGNORE
        )
        return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except (
        OSError,
        UnicodeDecodeError,
        RuntimeError,
    ) as error:  # RuntimeError: links in a circle
        why = getattr(error, "strerror", None) or "is not UTF-8, or a link in a circle"
        raise SettingsError(
            f"the password file {path} cannot be used: {why}",
            key="password_file",
            source=str(path),
        ) from None


def _from_file(path: Path) -> dict[str, Any]:
    source = str(path)
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        message = f"the settings file {path} cannot be read: {error.strerror}"
        raise SettingsError(message, source=source) from error
    except ValueError as error:  # of TOML and of UTF-8
        message = f"the settings file {path} is not TOML: {error}"
        raise SettingsError(message, source=source) from None
    return {_known(key, source): _parse(key, value, source) for key, value in table.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, value in environ.items():
        if variable.startswith(PREFIX) and variable not in NOT_SETTINGS:
            key = _known(variable.removeprefix(PREFIX).lower(), variable)
            values[key] = _parse(key, value, variable)
    return values


def _known(key: str, source: str) -> str:
    if key not in _PARSERS:
        known = ", ".join(_PARSERS)
        message = f"{source} has the unknown setting {key!r}: there are {known}"
        raise SettingsError(message, key=key, source=source)
    return key


def _parse(key: str, value: object, source: str) -> Any:
    """Parse a value from text or TOML, where "never" stands for None."""
    if value == "never" and key in _MAY_BE_NEVER:
        return None
    return _PARSERS[key](key, value, source)


def _bad(key: str, source: str, what: str) -> SettingsError:
    return SettingsError(f"{key} in {source} is {what}", key=key, source=source)


def _seconds(key: str, value: object, source: str) -> float:
    message = "not a number of seconds ≥ 0"
    if key in _MAY_BE_NEVER:
        message += ' (or "never")'
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _bad(key, source, message)
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        raise _bad(key, source, message) from None
    if not isfinite(seconds) or seconds < 0:
        raise _bad(key, source, message)
    return seconds


def _patience(key: str, value: object, source: str) -> float:
    seconds = _seconds(key, value, source)
    if seconds > _LONGEST_WAIT:
        raise _bad(key, source, "longer than a day")
    return seconds


def _whole_seconds(key: str, value: object, source: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    if type(value) is not int or value < 0:
        raise _bad(key, source, "not a whole number of seconds ≥ 0")
    return value


def _text(key: str, value: object, source: str) -> str:
    if not isinstance(value, str) or not value:
        raise _bad(key, source, "empty or not text")
    return value


def _store(key: str, value: object, source: str) -> StoreURL:
    url = _text(key, value, source)
    if not is_store(url):
        raise _bad(key, source, f"no URL of a log: {WHAT_THERE_IS}")
    return StoreURL(url)


def _path(key: str, value: object, source: str) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise _bad(key, source, "not a path")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise _bad(key, source, "in the home of an unknown user") from None


def _count(key: str, value: object, source: str) -> int:
    text = str(value)
    if not (text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= 1000):
        raise _bad(key, source, "not a whole number from 1 to 1000")
    return int(text)


def _one_of(*choices: str) -> Callable[[str, object, str], str]:
    def parse(key: str, value: object, source: str) -> str:
        if value not in choices:
            raise _bad(key, source, f"none of {', '.join(choices)}")
        return str(value)

    return parse


_MAY_BE_NEVER = ("expiry", "max_lifetime", "rotate_every")

_PARSERS: dict[str, Callable[[str, object, str], Any]] = {
    "path": _path,
    "store": _store,
    "anchor": _path,
    "name": _text,
    "expiry": _seconds,
    "max_lifetime": _seconds,
    "rotate_every": _seconds,
    "overlap": _whole_seconds,
    "password_file": _path,
    "initiator": _text,
    "lock_timeout": _patience,
    "freshness": _one_of("bounded", "strict"),
    "max_staleness": _seconds,
    "pool_size": _count,
    "log_level": _one_of("debug", "info", "warning", "error"),
}
