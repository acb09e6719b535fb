"""Where values come from: arguments over environment over a TOML file over defaults.

A setting is declared once, as a field of `Settings`: its type with its limits, its default and
what it is for. From that come the environment variable, the key in a TOML file, the check of
a value and the table of the reference. The password is no setting: `find_password` looks for it,
and it is kept nowhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import quote

from msgspec import UNSET, UnsetType

from keyturn.config.declarations import (
    Count,
    FilePath,
    Seconds,
    StoreText,
    Text,
    Wait,
    WholeSeconds,
    YesOrNo,
    about,
    converted,
    declarations_of,
)
from keyturn.config.os_errors import reason
from keyturn.config.secret_file import read_password_file
from keyturn.config.store_url import SQLITE
from keyturn.domain.errors import AuditTextError, SettingsError
from keyturn.domain.options import DEFAULT_EXPIRY, ManagerOptions
from keyturn.domain.secret import Password, Secret, hidden

_Given: TypeAlias = tuple[str, str, Secret[Any]]
"""Name of a setting, where its value was given, and the value."""

PREFIX = "KEYTURN_"
NOT_SETTINGS = frozenset({"KEYTURN_CONFIG", "KEYTURN_PASSWORD", "KEYTURN_TOKEN"})
"""Variables with our prefix that are read elsewhere."""

_OF_KUBERNETES = re.compile(
    r"KEYTURN_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*"
    r"|KEYTURN_(\w+_)?PORT=(tcp|udp|sctp)://.*",
    re.DOTALL,
)
"""What Kubernetes puts into every pod beside a service called `keyturn` or `keyturn-…`."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a service. What each is for stands in its declaration.

    Raises:
        SettingsError: a value is bad, or two do not go together.
    """

    path: Annotated[
        FilePath | None,
        about(
            "data folder: `keyring.json`, `keyturn.db`, `anchor.json.d`",
            unset="the platform's user data folder",
        ),
    ] = None
    store: Annotated[
        StoreText | None,
        about(
            "URL of the log: `sqlite:///relative`, `sqlite:////absolute`, `postgresql://…`, "
            "`memory:`",
            unset="`keyturn.db` in the data folder",
        ),
    ] = None
    anchor: Annotated[
        FilePath | None,
        about(
            "where the log ended is remembered: the folder of this name and `.d`",
            unset="in `path`, or the platform's state folder",
        ),
    ] = None
    name: Annotated[Text, about("which manager of the log; several share one")] = "default"
    expiry: Annotated[
        Seconds | None,
        about("seconds that a token lives; `never` (in Python `None`): for ever"),
    ] = DEFAULT_EXPIRY
    max_lifetime: Annotated[
        Seconds | None,
        about("seconds that a session lasts, however often it is refreshed", unset="`never`"),
    ] = None
    rotate_every: Annotated[
        Seconds | None,
        about("seconds after which a running manager rotates its key by itself", unset="`never`"),
    ] = None
    overlap: Annotated[
        WholeSeconds | None,
        about(
            "whole seconds that tokens under such a key stay good then; must be said if `expiry` "
            "is `never`",
            unset="as long as a token lives",
        ),
    ] = None
    password_file: Annotated[
        FilePath | None,
        about(
            "file with the key ring's password (container secrets, systemd credentials)",
            unset="none",
        ),
    ] = None
    group_readable: Annotated[
        YesOrNo,
        about(
            "the key ring may be read by its group too, as a Kubernetes Secret with `fsGroup` is"
        ),
    ] = False
    initiator: Annotated[
        Text | None, about("who is recorded for a change", unset="`user@host`")
    ] = None
    trust_log: Annotated[
        YesOrNo,
        about(
            "take a log that has events but no anchor entry on this machine as it is, once; "
            "resets nothing"
        ),
    ] = False
    lock_timeout: Annotated[
        Wait,
        about("seconds to wait for another process that writes to the log, or for a server"),
    ] = 5.0
    freshness: Annotated[
        Literal["bounded", "strict"],
        about(
            "of a log in PostgreSQL: `bounded` by `max_staleness`, or `strict`: it is read for "
            "each token"
        ),
    ] = "bounded"
    max_staleness: Annotated[
        Seconds, about("seconds within which every process refuses what another one ended")
    ] = 1.0
    pool_size: Annotated[
        Count,
        about("connections to PostgreSQL that may be in use at once; one more listens"),
    ] = 4
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        about("of the command line: debug, info, warning, error"),
    ] = "warning"

    def __post_init__(self) -> None:
        for name in _DECLARATIONS:
            value = converted(_DECLARATIONS, name, Secret(getattr(self, name)), "the arguments")
            object.__setattr__(self, name, value)  # the way of a frozen dataclass
        self.manager_options()

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
            environ: the environment, in which an empty variable counts as not set; None: that
                of the process.

        Raises:
            SettingsError: a key is unknown or a value is bad; it says which, and from where.
        """
        explicit = _boxed(explicit or {})
        return cls(**_converted(_given(explicit, config, environ)))

    @staticmethod
    def sources(
        explicit: Mapping[str, object] | None = None,
        *,
        config: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Return where each setting comes from, by its name.

        Args:
            explicit: what the caller gives.
            config: a TOML file.
            environ: the environment; None: that of the process.
        """
        sources = dict.fromkeys(_DECLARATIONS, "default")
        for name, source, _ in _given(explicit or {}, config, environ):
            sources[name] = source.removeprefix("the ")
        return sources

    def replace(self, explicit: Mapping[str, object]) -> Settings:
        """Return these settings with others in place of some; UNSET leaves one as it is.

        Raises:
            SettingsError: a key is unknown or a value is bad.
        """
        explicit = _boxed(explicit)
        return dataclasses.replace(self, **_converted(_from_arguments(explicit)))

    def manager_options(self) -> ManagerOptions:
        """Return what a session manager needs of these settings."""
        names = [field.name for field in dataclasses.fields(ManagerOptions) if field.init]
        try:
            return ManagerOptions(**{name: getattr(self, name) for name in names})
        except AuditTextError as error:
            raise SettingsError(str(error), key=error.field, source="the settings") from error

    @property
    def data_folder(self) -> Path:
        """Where the data is."""
        return self.path or _platform_folder("path")

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
        return (self.path or _platform_folder("anchor")) / "anchor.json"


_DECLARATIONS: Final = declarations_of(Settings)


def setting_rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield name, environment variable, default and description of each setting, in Markdown."""
    for name, setting in _DECLARATIONS.items():
        match setting.default:
            case None:
                default = setting.unset or ""
            case bool() as value:
                default = f"`{str(value).lower()}`"
            case str() as value:
                default = f"`{value}`"
            case number:
                default = f"{number:g}"
        yield name, _variable(name), default, setting.description


def find_password(
    settings: Settings,
    explicit: Password | UnsetType = UNSET,
    environ: Mapping[str, str] | None = None,
) -> Secret[str] | None | UnsetType:
    """Return the password: the argument, or `KEYTURN_PASSWORD`, or what the password file holds.

    Of a file a byte order mark at the start and one line end at the end are left out. None means
    explicitly none, UNSET that nobody said anything; an empty variable says nothing.

    Raises:
        SettingsError: the password file cannot be read.
    """
    if explicit is not UNSET:
        return hidden(explicit)
    variables = _variables(environ)
    if "KEYTURN_PASSWORD" in variables:
        return variables["KEYTURN_PASSWORD"]
    if settings.password_file is None:
        return UNSET
    return read_password_file(settings.password_file)


def _given(
    explicit: Mapping[str, object],
    config: str | Path | None,
    environ: Mapping[str, str] | None,
) -> Iterator[_Given]:
    """Yield what was given, in the order in which the later goes before the earlier."""
    variables = _variables(environ)
    if config is None and "KEYTURN_CONFIG" in variables:
        config = variables["KEYTURN_CONFIG"].reveal()
    if config:
        for key, value in _read_file(Path(config)).items():
            yield key, str(config), value
    for name, value in variables.items():
        is_other = name in NOT_SETTINGS
        if not is_other and not _OF_KUBERNETES.fullmatch(f"{name}={value.reveal()}"):
            yield name.removeprefix(PREFIX).lower(), name, value
    yield from _from_arguments(explicit)


def _from_arguments(explicit: Mapping[str, object]) -> Iterator[_Given]:
    for name, value in _boxed(explicit).items():
        yield name, "the arguments", value


def _converted(given: Iterable[_Given]) -> dict[str, Any]:
    return {name: converted(_DECLARATIONS, name, value, source) for name, source, value in given}


def _boxed(values: Mapping[str, object]) -> dict[str, Secret[Any]]:
    """Return the values that are said: any may hold a password, were it in the wrong place."""
    return {name: Secret.of(value) for name, value in values.items() if value is not UNSET}


def _read_file(path: Path) -> dict[str, Secret[Any]]:
    import tomllib  # most have no file

    try:
        return _boxed(tomllib.loads(path.read_text("utf-8-sig")))
    except OSError as error:
        message = f"the settings file {path} cannot be read: {reason(error)}"
        raise SettingsError(message, source=str(path)) from error
    except ValueError as error:  # of TOML and of UTF-8; it holds the whole file
        why = str(error)
    raise SettingsError(f"the settings file {path} is not TOML: {why}", source=str(path))


def _variables(environ: Mapping[str, str] | None) -> dict[str, Secret[str]]:
    """Return the variables with our prefix that are not empty; None: those of the process."""
    return {
        name: Secret(value)
        for name, value in (os.environ if environ is None else environ).items()
        if value and name.startswith(PREFIX)
    }


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _platform_folder(key: str) -> Path:
    """Return the user's folder for data; for the anchor that for state."""
    from platformdirs import PlatformDirs  # only here: it takes its time

    folders = PlatformDirs("keyturn", appauthor=False)
    with contextlib.suppress(RuntimeError):  # what newer platformdirs say without a home
        folder = folders.user_state_path if key == "anchor" else folders.user_data_path
        if folder.is_absolute():  # older ones leave the ~ there
            return folder
    message = f"there is no home folder: say with {key} ({_variable(key)}) where it is to be"
    raise SettingsError(message, key=key, source="the defaults")
