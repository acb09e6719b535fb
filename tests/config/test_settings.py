"""Where settings come from: arguments over environment over a TOML file over defaults."""

from __future__ import annotations

import dataclasses
import os
import traceback
from pathlib import Path
from typing import Any

import msgspec
import pytest

import keyturn
from keyturn import Settings
from keyturn.domain.errors import SettingsError
from keyturn.domain.options import ManagerOptions
from keyturn.domain.rotation import RotationPolicy

OTHER_VALUES: dict[str, tuple[str, Any]] = {
    "path": ("/tmp/elsewhere", Path("/tmp/elsewhere")),
    "store": ("memory:", "memory:"),
    "anchor": ("/tmp/anchor.json", Path("/tmp/anchor.json")),
    "name": ("web", "web"),
    "expiry": ("60.5", 60.5),
    "max_lifetime": ("120", 120.0),
    "rotate_every": ("3600.5", 3600.5),
    "overlap": ("60", 60),
    "password_file": ("/run/secrets/x", Path("/run/secrets/x")),
    "group_readable": ("yes", True),
    "initiator": ("alice", "alice"),
    "trust_log": ("yes", True),
    "lock_timeout": ("0.5", 0.5),
    "freshness": ("strict", "strict"),
    "max_staleness": ("0.25", 0.25),
    "pool_size": ("8", 8),
    "log_level": ("debug", "debug"),
}
FIELDS = [field.name for field in dataclasses.fields(Settings)]


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "keyturn.toml"


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_can_come_from_the_environment(name: str) -> None:
    text, value = OTHER_VALUES[name]

    settings = Settings.load(environ={f"KEYTURN_{name.upper()}": text})

    assert settings == dataclasses.replace(Settings(), **{name: value})


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_can_come_from_a_toml_file(name: str, toml: Path) -> None:
    text, value = OTHER_VALUES[name]
    written = value if isinstance(value, float) else f'"{text}"'
    toml.write_text(f"{name} = {written}\n")

    settings = Settings.load(config=toml, environ={})

    assert settings == dataclasses.replace(Settings(), **{name: value})


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_can_come_from_an_argument(name: str) -> None:
    _, value = OTHER_VALUES[name]

    settings = Settings.load({name: value}, environ={})

    assert settings == dataclasses.replace(Settings(), **{name: value})


def test_an_argument_goes_before_the_environment() -> None:
    settings = Settings.load({"name": "argument"}, environ={"KEYTURN_NAME": "variable"})

    assert settings.name == "argument"


def test_the_environment_goes_before_the_toml_file(toml: Path) -> None:
    toml.write_text('name = "file"')

    settings = Settings.load(config=toml, environ={"KEYTURN_NAME": "variable"})

    assert settings.name == "variable"


def test_the_toml_file_goes_before_the_defaults_where_a_variable_names_it(toml: Path) -> None:
    toml.write_text('name = "file"')

    settings = Settings.load(environ={"KEYTURN_CONFIG": str(toml)})

    assert settings.name == "file"


def test_an_argument_that_is_not_given_leaves_what_the_others_say() -> None:
    settings = Settings.load({"name": msgspec.UNSET}, environ={"KEYTURN_NAME": "variable"})

    assert settings.name == "variable"


def test_an_argument_of_none_goes_before_the_environment_where_none_means_something() -> None:
    settings = Settings.load({"expiry": None}, environ={"KEYTURN_EXPIRY": "60"})

    assert settings.expiry is None


@pytest.mark.parametrize("name", ["expiry", "max_lifetime", "rotate_every"])
def test_never_means_no_limit(name: str, toml: Path) -> None:
    toml.write_text(f'{name} = "never"')

    from_file = Settings.load(config=toml, environ={})
    from_variable = Settings.load(environ={f"KEYTURN_{name.upper()}": "never"})

    assert (getattr(from_file, name), getattr(from_variable, name)) == (None, None)


@pytest.mark.parametrize(("name", "is_said"), [("expiry", True), ("max_staleness", False)])
def test_an_error_says_never_only_where_that_is_possible(name: str, is_said: bool) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.load(environ={f"KEYTURN_{name.upper()}": "-1"})

    assert ("never" in str(raised.value)) is is_said


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("expiry", "soon", "seconds, or a duration like 45s, 30m, 24h or 90d, or never"),
        ("pool_size", "0", "a whole number from 1 to 1000"),
        ("freshness", "fresh", "one of bounded, strict"),
        ("trust_log", "maybe", "one of true, yes, 1, false, no, 0"),
        ("store", "mysql://host", "postgresql://USER@HOST/DATABASE or memory:"),
    ],
)
def test_an_error_says_what_is_allowed(name: str, text: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.load(environ={f"KEYTURN_{name.upper()}": text})

    assert str(raised.value).endswith(allowed)


@pytest.mark.parametrize("name", sorted({*FIELDS} - {"name", "initiator"}))
def test_an_error_shows_the_value_nowhere(name: str) -> None:
    value = "hunter2" + "\0"

    with pytest.raises(SettingsError) as raised:
        Settings.load({name: value}, environ={})

    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("45s", 45), ("30m", 1800), ("1.5h", 5400), (" 24 H ", 86400), ("90d", 7776000)],
)
@pytest.mark.parametrize("name", ["expiry", "max_lifetime", "overlap", "max_staleness"])
def test_a_duration_may_have_a_unit_wherever_it_is_written(
    name: str, text: str, seconds: int, toml: Path
) -> None:
    toml.write_text(f'{name} = "{text}"')

    found = [
        Settings.load(config=toml, environ={}),
        Settings.load(environ={f"KEYTURN_{name.upper()}": text}),
        Settings.load({name: text}, environ={}),
    ]

    assert [getattr(settings, name) for settings in found] == [seconds] * 3


@pytest.mark.parametrize(
    ("text", "is_so"),
    [("true", True), ("1", True), ("YES", True), ("false", False), ("0", False), ("No", False)],
)
def test_a_yes_or_no_may_be_written_in_six_ways(text: str, is_so: bool) -> None:
    assert Settings.load(environ={"KEYTURN_TRUST_LOG": text}).trust_log is is_so


@pytest.mark.parametrize("name", [*FIELDS, "config", "colour"])
def test_an_empty_variable_counts_as_not_set(name: str) -> None:
    assert Settings.load(environ={f"KEYTURN_{name.upper()}": ""}) == Settings()


KUBERNETES = {
    "KEYTURN_PORT": "tcp://10.0.0.1:8000",
    "KEYTURN_SERVICE_HOST": "10.0.0.1",
    "KEYTURN_SERVICE_PORT": "8000",
    "KEYTURN_SERVICE_PORT_HTTP": "8000",
    "KEYTURN_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "KEYTURN_PORT_8000_TCP_PROTO": "tcp",
    "KEYTURN_PORT_8000_TCP_PORT": "8000",
    "KEYTURN_PORT_8000_TCP_ADDR": "10.0.0.1",
    "KEYTURN_WEB_PORT": "tcp://10.0.0.2:80",
    "KEYTURN_WEB_SERVICE_HOST": "10.0.0.2",
}


def test_what_kubernetes_puts_beside_a_service_called_keyturn_is_no_setting() -> None:
    assert Settings.load(environ=KUBERNETES) == Settings()


@pytest.mark.parametrize("variable", ["KEYTURN_PORT", "KEYTURN_SERVICE", "KEYTURN_PORT_TCP"])
def test_what_only_looks_like_kubernetes_is_an_unknown_setting(variable: str) -> None:
    with pytest.raises(SettingsError, match="unknown setting"):
        Settings.load(environ={variable: "8000"})


@pytest.mark.parametrize(
    "content", [b'\xef\xbb\xbfname = "web"', b'name = "web"\r\npool_size = 4\r\n']
)
def test_a_byte_order_mark_and_line_ends_of_windows_are_fine_in_a_settings_file(
    content: bytes, toml: Path
) -> None:
    toml.write_bytes(content)

    assert Settings.load(config=toml, environ={}).name == "web"


def test_settings_are_replaced_where_something_is_said() -> None:
    settings = Settings(name="web", expiry=60)

    other = settings.replace({"name": msgspec.UNSET, "expiry": "2h", "store": "memory:"})

    assert other == Settings(name="web", expiry=7200, store="memory:")
    with pytest.raises(SettingsError) as raised:
        settings.replace({"colour": "red"})
    assert raised.value.key == "colour"


@pytest.mark.parametrize(
    ("bad", "key"),
    [
        ({"rotate_every": 60, "expiry": None}, "overlap"),
        ({"rotate_every": "0.5"}, "rotate_every"),
        ({"name": "a\nb"}, "name"),
        ({"initiator": "x" * 256}, "initiator"),
    ],
)
def test_settings_that_no_manager_could_start_with_are_refused(
    bad: dict[str, Any], key: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.load(bad, environ={})

    assert raised.value.key == key


def test_a_manager_gets_its_options_in_one_value() -> None:
    settings = Settings(name="web", expiry="1h", rotate_every="1d", initiator="ops")  # type: ignore[arg-type]

    options = settings.manager_options()

    assert options == ManagerOptions(name="web", expiry=3600, rotate_every=86400, initiator="ops")
    assert options.rotation == RotationPolicy(86400, 3600)
    assert Settings().manager_options() == ManagerOptions()


def test_the_default_expiry_is_a_day() -> None:
    assert Settings().expiry == 24 * 60 * 60


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        ({"KEYTURN_COLOUR": "red"}, "colour"),
        ({"KEYTURN_EXPIRY": "soon"}, "expiry"),
        ({"KEYTURN_EXPIRY": "nan"}, "expiry"),
        ({"KEYTURN_EXPIRY": "1e999"}, "expiry"),
        ({"KEYTURN_EXPIRY": "-1"}, "expiry"),
        ({"KEYTURN_LOCK_TIMEOUT": "never"}, "lock_timeout"),
        ({"KEYTURN_LOG_LEVEL": "loud"}, "log_level"),
        ({"KEYTURN_FRESHNESS": "never"}, "freshness"),
        ({"KEYTURN_MAX_STALENESS": "-1"}, "max_staleness"),
        ({"KEYTURN_MAX_STALENESS": "nan"}, "max_staleness"),
        ({"KEYTURN_POOL_SIZE": "0"}, "pool_size"),
        ({"KEYTURN_POOL_SIZE": "1.5"}, "pool_size"),
        ({"KEYTURN_POOL_SIZE": "00000010001"}, "pool_size"),
        ({"KEYTURN_LOCK_TIMEOUT": "1e6"}, "lock_timeout"),
        ({"KEYTURN_POOL_SIZE": "9" * 5000}, "pool_size"),
        ({"KEYTURN_LOCK_TIMEOUT": "25h"}, "lock_timeout"),
        ({"KEYTURN_EXPIRY": "30 minutes"}, "expiry"),
        ({"KEYTURN_EXPIRY": "null"}, "expiry"),
        ({"KEYTURN_OVERLAP": "0.5s"}, "overlap"),
        ({"KEYTURN_OVERLAP": "101000d"}, "overlap"),
        ({"KEYTURN_OVERLAP": "never"}, "overlap"),
        ({"KEYTURN_TRUST_LOG": "maybe"}, "trust_log"),
        ({"KEYTURN_PATH": "~nobody-of-this-name/data"}, "path"),
        ({"KEYTURN_STORE": "mysql://host/db"}, "store"),
    ],
)
def test_an_error_in_a_variable_names_the_key_and_the_variable(
    environ: dict[str, str], key: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.load(environ=environ)

    variable = next(iter(environ))
    assert (raised.value.key, raised.value.source) == (key, variable)
    assert key in str(raised.value)
    assert variable in str(raised.value)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("colour = 1", "colour"),
        ('password = "hunter2"', "password"),
        ("expiry = true", "expiry"),
        ("expiry = inf", "expiry"),
        ("expiry = [1]", "expiry"),
        ("name = 7", "name"),
        ('name = ""', "name"),
        ('path = ""', "path"),
        ("trust_log = 1", "trust_log"),
        ("overlap = 60.0", "overlap"),
        ("pool_size = true", "pool_size"),
        ("path = 7", "path"),
        ('path = "a\\u0000b"', "path"),
        ('store = "sqlite:///"', "store"),
        ("[expiry]", "expiry"),
    ],
)
def test_an_error_in_a_file_names_the_key_and_the_file_and_shows_no_value(
    line: str, key: str, toml: Path
) -> None:
    toml.write_text(line)

    with pytest.raises(SettingsError) as raised:
        Settings.load(config=toml, environ={})

    assert (raised.value.key, raised.value.source) == (key, str(toml))
    assert key in str(raised.value)
    assert str(toml) in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("colour", "red"),
        ("expiry", "soon"),
        ("expiry", float("nan")),
        ("expiry", 10**400),
        ("expiry", True),
        ("trust_log", None),
        ("freshness", ["strict"]),
        ("lock_timeout", None),
        ("name", None),
        ("log_level", None),
        ("path", 7),
        ("store", "nonsense"),
    ],
)
def test_an_error_in_an_argument_names_the_key_and_the_arguments(name: str, value: Any) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.load({name: value}, environ={})

    assert (raised.value.key, raised.value.source) == (name, "the arguments")


@pytest.mark.parametrize("content", [b"= 1", b"\xff\xfe", b'name = "a"\nname = "b"'])
def test_a_settings_file_that_is_not_toml_is_an_error_that_names_it(
    content: bytes, toml: Path
) -> None:
    toml.write_bytes(content)

    with pytest.raises(SettingsError) as raised:
        Settings.load(config=toml, environ={})

    assert raised.value.source == str(toml)


def test_a_settings_file_that_is_not_there_is_an_error_that_names_it(toml: Path) -> None:
    with pytest.raises(SettingsError, match="No such file") as raised:
        Settings.load(environ={"KEYTURN_CONFIG": str(toml)})

    assert raised.value.source == str(toml)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///",
        "sqlite://host/log.db",
        "sqlite:log.db",
        "sqlite:///log.db?mode=ro",
        "sqlite:///log#1.db",
        "sqlite:///a%00b",
        "sqlite://[/x",
        "memory",
        "memory:x",
        "log.db",
        "",
    ],
)
def test_a_store_that_is_no_url_of_a_log_is_refused_before_anything_is_made(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as raised:
        keyturn.open(path=tmp_path / "data", store=url, password=None)

    assert raised.value.key == "store"
    assert list(tmp_path.iterdir()) == []


def test_the_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")

    settings = Settings.load(environ={"KEYTURN_PATH": "~/keys"})

    assert settings.path == Path("/home/alice/keys")


@pytest.mark.parametrize(
    ("wanted", "key"), [("data_folder", "path"), ("store_url", "path"), ("anchor_path", "anchor")]
)
def test_without_a_home_the_error_says_which_setting_helps(
    wanted: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # a container's user, who is in no passwd

    with pytest.raises(SettingsError, match=f"KEYTURN_{key.upper()}") as raised:
        getattr(Settings(), wanted)

    assert raised.value.key == key


def visible_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_without_a_path_data_and_anchor_lie_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    keyturn.open(password=None).close()

    assert visible_names(tmp_path / "data/keyturn") == ["keyring.json", "keyturn.db"]
    assert visible_names(tmp_path / "state/keyturn") == ["anchor.json.d"]


@pytest.mark.parametrize("name", ["a b", "100%", "what?", "no#1", "ключ", "a%20b", ":memory:"])
def test_any_name_will_do_for_the_data_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    with keyturn.open(path=folder, password=None) as service:
        token = service.create_token()

    with keyturn.open(path=folder, password=None) as service:
        is_good = service.verify_token(token)

    assert is_good
    assert visible_names(folder) == ["anchor.json.d", "keyring.json", "keyturn.db"]
    assert list(tmp_path.iterdir()) == [folder]
