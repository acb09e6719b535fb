"""How Keyturn speaks: to whom, and what it never says."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import structlog

import keyturn
from keyturn import Service
from keyturn.config import files
from keyturn.config.logging import configure_for_command_line, get_logger, redacted, safe

RunPython = Callable[..., CompletedProcess[str]]
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"


@pytest.fixture(autouse=True)
def _standard_logging_as_it_is_at_first() -> Iterator[None]:
    """Undo what a test configures, and what one before this configured."""
    logger = logging.getLogger("keyturn")
    before = (logger.handlers[:], logger.level, logger.propagate)
    logger.handlers[:], logger.propagate = [], True
    logger.setLevel(logging.NOTSET)
    yield
    logger.handlers[:], _, logger.propagate = before
    logger.setLevel(before[1])


@pytest.fixture
def host_events() -> Iterator[list[MutableMapping[str, Any]]]:
    """What reaches the processors of a host that configured structlog."""
    events: list[MutableMapping[str, Any]] = []

    def keep(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:
        events.append(dict(event))
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    yield events
    structlog.reset_defaults()


def test_a_host_that_configured_structlog_gets_our_events_through_its_processors(
    host_events: list[MutableMapping[str, Any]], service: Service
) -> None:
    service.reset_key(reason="a test")

    changes = [e for e in host_events if e["event"] == "session keys changed"]
    assert [(e["kind"], e["generation"]) for e in changes] == [("generated", 1), ("reset", 2)]


def test_a_host_that_configured_standard_logging_gets_records_of_the_logger_keyturn(
    caplog: pytest.LogCaptureFixture, service: Service
) -> None:
    caplog.set_level(logging.INFO)

    service.reset_key(reason="a test")

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("keyturn", "INFO")
    assert "event='session keys changed'" in record.getMessage()
    assert "kind='reset'" in record.getMessage()


def plain(stream: io.StringIO) -> None:
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
        logger_factory=structlog.PrintLoggerFactory(stream),
    )


def json_lines(stream: io.StringIO) -> None:
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )


def over_standard_logging(stream: io.StringIO) -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    logging.getLogger("keyturn").addHandler(logging.StreamHandler(stream))
    logging.getLogger("keyturn").setLevel(logging.INFO)


HOSTS = [plain, json_lines, over_standard_logging]


@pytest.mark.parametrize("configure", HOSTS)
def test_a_host_may_configure_structlog_in_its_own_way_and_later(
    configure: Callable[[io.StringIO], None], service: Service
) -> None:
    stream = io.StringIO()
    get_logger().info("before")
    configure(stream)

    service.reset_key(reason="a test")

    (line,) = stream.getvalue().splitlines()
    assert "session keys changed" in line
    assert "reset" in line
    assert "before" not in line


def test_a_host_gets_the_values_of_an_event_as_they_are(service: Service) -> None:
    with structlog.testing.capture_logs() as lines:
        service.reset_key(reason="a test")
        service.verify_token("nonsense")

    changed, refused = lines
    assert changed["event"] == "session keys changed"
    assert (changed["log_level"], changed["generation"]) == ("info", 2)
    assert refused == {
        "event": "token refused",
        "log_level": "debug",
        "manager": "default",
        "reason": "malformed",
        "kid": None,
    }


def test_a_logger_says_the_values_that_are_bound_to_it() -> None:
    logger = get_logger(manager="web")

    with structlog.testing.capture_logs() as lines:
        logger.bind(host="a").warning("late", seconds=2)
        logger.error("gone", manager="other")

    assert [{**line, "log_level": ""} for line in lines] == [
        {"event": "late", "manager": "web", "host": "a", "seconds": 2, "log_level": ""},
        {"event": "gone", "manager": "other", "log_level": ""},
    ]


def test_the_command_line_prints_lines_of_its_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_for_command_line("info")

    get_logger(manager="web").info("a line", n=1)
    get_logger().debug("below")

    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "INFO event='a line' manager='web' n=1\n")


def test_a_host_may_pass_a_logger_of_its_own(tmp_path: Path) -> None:
    events: list[MutableMapping[str, Any]] = []

    def keep(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:
        events.append(event)
        raise structlog.DropEvent

    logger = structlog.wrap_logger(None, processors=[keep])

    keyturn.open(path=tmp_path, password=None, logger=logger).close()

    assert [event["kind"] for event in events] == ["generated"]


@pytest.mark.parametrize("name", ["password", "token", "session_token", "secret", "key"])
def test_a_line_loses_what_has_the_name_of_a_secret(name: str) -> None:
    values = redacted({"event": "x", name: "hunter2"})

    assert values == {"event": "x", name: "[removed]"}


def test_a_line_loses_tokens_wherever_they_stand() -> None:
    values = redacted({"event": f"got {TOKEN}!", "detail": f"({TOKEN})", "n": 1})

    assert values == {"event": "got [token]!", "detail": "([token])", "n": 1}


def own_lines(stream: io.StringIO) -> None:
    logging.getLogger("keyturn").addHandler(logging.StreamHandler(stream))
    logging.getLogger("keyturn").setLevel(logging.DEBUG)


@pytest.mark.parametrize("configure", [own_lines, *HOSTS])
def test_no_token_and_no_secret_gets_into_a_line(
    configure: Callable[[io.StringIO], None],
) -> None:
    stream = io.StringIO()
    configure(stream)

    get_logger(bound=TOKEN).info(f"got {TOKEN}", detail=f"({TOKEN})", password="hunter2")

    (line,) = stream.getvalue().splitlines()
    assert line.count("[token]") == 3
    assert "[removed]" in line
    assert not any(part in line for part in ("hunter2", *TOKEN.split(".")))


def test_no_token_and_no_secret_reaches_a_logger_that_the_host_passed() -> None:
    lines = structlog.testing.CapturingLogger()

    safe(structlog.wrap_logger(lines, processors=[])).info("got", detail=TOKEN, key=b"hunter2")

    ((_, _, values),) = lines.calls
    assert values == {"event": "got", "detail": "[token]", "key": "[removed]"}


# --- a host whose logging is broken ------------------------------------------------------------


class BrokenHandler(logging.Handler):
    """A handler of a disk that is full."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def broken_processor(*_: Any) -> Any:
    raise ZeroDivisionError


def break_standard_handler() -> None:
    logging.getLogger("keyturn").addHandler(BrokenHandler())
    logging.getLogger("keyturn").setLevel(logging.DEBUG)


def break_processor() -> None:
    structlog.configure(processors=[broken_processor])


def break_sink() -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115 - as long as the test
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(full))


def break_wrapper_class() -> None:
    structlog.configure(wrapper_class=broken_processor)  # type: ignore[arg-type]


def pass_broken_logger() -> Any:
    return structlog.wrap_logger(None, processors=[broken_processor])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "break_logging",
    [
        break_standard_handler,
        break_processor,
        break_sink,
        break_wrapper_class,
        pass_broken_logger,
    ],
)
def test_nothing_fails_because_a_hosts_logging_does(
    break_logging: Callable[[], Any], tmp_path: Path
) -> None:
    use_everything(tmp_path, break_logging())


def test_a_warning_of_the_anchor_that_cannot_be_logged_stops_nothing(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None, logger=pass_broken_logger()) as service:
        token = service.create_token()
        (entry,) = (tmp_path / "anchor.json.d").glob("*.json")

        with files.open_private(entry, os.O_RDWR) as fd, files.locked_fd(fd, entry, timeout=1):
            service.reset_key()

        assert not service.verify_token(token)


def use_everything(folder: Path, logger: Any) -> None:
    with keyturn.open(path=folder, password=None, logger=logger) as service:
        token = service.create_token()
        assert service.verify_token(token)
        service.reset_key(reason="a test")
        assert not service.verify_token(token)
        assert not service.verify_token("nonsense")
        assert service.inspect_token(token).refusal is not None
        service.manager.tell("what nobody knows")
        with pytest.raises(keyturn.KeyturnError):
            service.refresh_token(token)
        service.stop()
        service.start()


def test_an_interrupt_while_a_line_is_written_goes_on_to_the_host() -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    structlog.configure(processors=[interrupt])

    with pytest.raises(KeyboardInterrupt):
        get_logger().info("a line")


def test_unconfigured_it_prints_warnings_and_nothing_else_of_a_whole_session(
    run_python: RunPython, tmp_path: Path
) -> None:
    printed = run_python(
        "import sys, keyturn\n"
        "from keyturn.config.logging import get_logger\n"
        "with keyturn.open(path=sys.argv[1], password=None) as service:\n"
        "    token = service.create_token()\n"
        "    service.reset_key()\n"
        "    service.verify_token(token), service.verify_token('nonsense')\n"
        "    service.stop(), service.start()\n"
        "get_logger().debug('a debug line'), get_logger().info('an info line')\n"
        "get_logger().warning('a warning'), get_logger().error('an error')\n",
        tmp_path,
    )

    assert (printed.stdout, printed.stderr) == ("", "event='a warning'\nevent='an error'\n")


def log_an_exception() -> None:
    local_secret = "hunter2-" + "in-a-local-variable"
    try:
        raise ValueError("what went wrong")
    except ValueError:
        get_logger().error("it failed", exc_info=True)
    assert local_secret


def test_a_traceback_in_standard_logging_shows_no_local_variables(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log_an_exception()

    assert "ValueError: what went wrong" in caplog.text
    assert "hunter2-in-a-local-variable" not in caplog.text


@pytest.mark.parametrize(
    "processors",
    [
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()],
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.rich_traceback)],
    ],
    ids=["dict_tracebacks", "rich"],
)
def test_a_traceback_shows_no_local_variables_where_a_hosts_processors_would_print_them(
    processors: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    structlog.configure(processors=processors)

    try:
        log_an_exception()
    finally:
        structlog.reset_defaults()

    printed = capsys.readouterr().out
    assert "what went wrong" in printed
    assert "hunter2-in-a-local-variable" not in printed


def test_importing_keyturn_imports_nothing_that_is_slow(run_new_python: RunPython) -> None:
    printed = run_new_python(
        "import sys, keyturn\n"
        "slow = {'click', 'jinja2', 'psycopg', 'keyturn.aio', 'keyturn.cli', 'keyturn.testing'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )

    assert printed.stdout == "[]\n"


SESSION_OF_OPERATIONS = """
import base64, contextlib, json, logging, os, sqlite3, sys
from pathlib import Path

logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
import keyturn
from keyturn import ask, KeyRing, KeyturnError

folder, password = Path(sys.argv[1]), "hunter2-the-password"
secrets = [password]

calls = [0]
def clock():
    calls[0] += 1
    if calls[0] == -1:
        raise RuntimeError("the clock broke")
    return 1_700_000_000.0

def note(token):
    secrets.append(token)
    secrets.extend(token.split(".")[1:])
    return token

def note_key(service):
    secret = ask(service.manager, keyturn.SetupKey()).secret
    secrets.extend([secret.hex(), repr(secret)[2:-1],
                    base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()])

def attempt(action, *arguments, **named):
    try:
        action(*arguments, **named)
    except Exception as error:
        logging.getLogger("host").error("failed", exc_info=error)

settings = keyturn.Settings(path=folder, lock_timeout=0.2)
with keyturn.open(settings, password=password, clock=clock) as service:
    manager = service.manager
    token = note(service.create_token(claims={"role": "admin"}))
    note_key(service)
    old = note(ask(manager, keyturn.CreateToken()))
    note(service.refresh_token(token))
    service.reset_key(reason="leaked")
    note_key(service)
    for bad in (old, token, old[:-2], old + "=", "x", None, 7, b"x", token.replace(".", "..")):
        service.verify_token(bad)
        service.inspect_token(bad)
        ask(manager, keyturn.VerifyToken(bad))
        attempt(service.refresh_token, bad)
        attempt(ask, manager, keyturn.RefreshToken(bad))
        manager.tell(keyturn.RefreshToken(bad))
        manager.tell(bad)
    with service.transaction() as tran:
        service.reset_key(tran=tran)
        note(service.create_token(tran=tran))
    with contextlib.suppress(ValueError), service.transaction() as tran:
        raise ValueError
    good = note(service.create_token(expiry=0))
    calls[0] = -2
    attempt(ask, manager, keyturn.VerifyToken(good))
    calls[0] = -2
    manager.tell(keyturn.VerifyToken(good))
    calls[0] = -2
    attempt(ask, manager, keyturn.CreateToken(claims={"password": password}))
    attempt(service.create_token, claims={"up": [good, object()]})
    attempt(service.create_token, expiry=good)
    attempt(service.create_token, subject=good * 100)
    with service.session(folder / "token") as session:
        session.write_token(good)
        session.read_token()
        attempt(session.write_token, good + "\\n" + good)
        (folder / "token").write_bytes(good.encode() + b"\\xff")
        attempt(session.read_token)
    blocker = sqlite3.connect(folder / "keyturn.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    attempt(service.reset_key, reason="blocked")
    blocker.execute("ROLLBACK")
    blocker.close()
    service.stop()
    attempt(service.create_token)
    service.start(fresh=True)
    note_key(service)
    service.stop()
    service.destroy()

attempt(keyturn.open, path=folder, password="hunter2-a-wrong-password")
secrets.append("hunter2-a-wrong-password")
rows = sqlite3.connect(folder / "keyturn.db").execute("SELECT state FROM stored_events")
states = [json.loads(state) for state, in rows]
secrets += [state["sealed_key"] for state in states if "sealed_key" in state]
ring = json.loads((folder / "keyring.json").read_bytes())
secrets += [value for value in ring.values() if isinstance(value, str) and len(value) > 60
            and value != ring.get("node_id")]
print(json.dumps(secrets))
"""


def test_no_secret_is_in_any_log_line_of_a_whole_session_with_its_failures(
    run_python: RunPython, tmp_path: Path
) -> None:
    printed = run_python(SESSION_OF_OPERATIONS, tmp_path / "data")

    secrets: list[str] = json.loads(printed.stdout)
    assert len(secrets) > 30
    assert "session keys changed" in printed.stderr
    assert "token refused" in printed.stderr
    assert "the clock broke" in printed.stderr
    assert [secret for secret in secrets if secret in printed.stderr] == []
