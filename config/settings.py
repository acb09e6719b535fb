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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal
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
            value = converted(_DECLARATIONS, name, getattr(self, name), "the arguments")
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
        values: dict[str, Any] = {}
        for _, found in _layers(explicit, config, environ):
            values |= found
        return cls(**values)

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
        for source, found in _layers(explicit, config, environ):
            sources |= {name: source or _variable(name) for name in found}
        return sources

    def replace(self, explicit: Mapping[str, object]) -> Settings:
        """Return these settings with others in place of some; UNSET leaves one as it is.

        Raises:
            SettingsError: a key is unknown or a value is bad.
        """
        return dataclasses.replace(self, **_said(explicit))

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
        if self.path is not None:
            return self.path
        from platformdirs import user_data_path

        return _platform_folder(user_data_path, "path")

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

        return _platform_folder(user_state_path, "anchor") / "anchor.json"


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
    explicit: str | None | UnsetType = UNSET,
    environ: Mapping[str, str] | None = None,
) -> str | None | UnsetType:
    """Return the password: the argument, or `KEYTURN_PASSWORD`, or what the password file holds.

    Of a file a byte order mark at the start and one line end at the end are left out. None means
    explicitly none, UNSET that nobody said anything; an empty variable says nothing.

    Raises:
        SettingsError: the password file cannot be read.
    """
    if explicit is not UNSET:
        return explicit
    environ = os.environ if environ is None else environ
    if environ.get("KEYTURN_PASSWORD"):
        return environ["KEYTURN_PASSWORD"]
    if settings.password_file is None:
        return UNSET
    return read_password_file(settings.password_file)


def _layers(
    explicit: Mapping[str, object] | None,
    config: str | Path | None,
    environ: Mapping[str, str] | None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield values with their source, later ones before earlier ones; "": each its variable."""
    environ = os.environ if environ is None else environ
    config = environ.get("KEYTURN_CONFIG") if config is None else config
    if config:
        yield str(config), _from_file(Path(config))
    yield "", _from_environment(environ)
    yield "arguments", _said(explicit or {})


def _from_file(path: Path) -> dict[str, Any]:
    import tomllib  # most have no file

    source = str(path)
    try:
        table = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        message = f"the settings file {path} cannot be read: {reason(error)}"
        raise SettingsError(message, source=source) from error
    except ValueError as error:  # of TOML and of UTF-8
        message = f"the settings file {path} is not TOML: {error}"
        raise SettingsError(message, source=source) from None  # the cause holds the whole file
    return {key: converted(_DECLARATIONS, key, value, source) for key, value in table.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, value in environ.items():
        if not value or not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        if not _OF_KUBERNETES.fullmatch(f"{variable}={value}"):
            key = variable.removeprefix(PREFIX).lower()
            values[key] = converted(_DECLARATIONS, key, value, variable)
    return values


def _said(explicit: Mapping[str, object]) -> dict[str, Any]:
    return {
        name: converted(_DECLARATIONS, name, value, "the arguments")
        for name, value in explicit.items()
        if value is not UNSET
    }


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _platform_folder(find: Callable[..., Path], key: str) -> Path:
    with contextlib.suppress(RuntimeError):  # what newer platformdirs say without a home
        folder = find("keyturn", appauthor=False)
        if folder.is_absolute():  # older ones leave the ~ there
            return folder
    message = f"there is no home folder: say with {key} ({_variable(key)}) where it is to be"
    raise SettingsError(message, key=key, source="the defaults")
