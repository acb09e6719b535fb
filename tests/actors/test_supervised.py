"""G8: A bad message gives a clear error to its sender, and the actor goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import EventLog, KeyRing, KeyturnError, SessionManager
from keyturn.actors.supervision import SupervisedActor
from keyturn.domain.errors import MessageFailedError, TokenRefusedError, UnknownMessageError
from tests.actors.host_rings import HostKeyRing, raises
from tests.actors.in_memory import store_url  # noqa: F401 - a fixture

TOKEN = "eyJhbGciOiJIUzI1NiIsImtpZCI6Im5vbmUiLCJ0eXAiOiJKV1QifQ.eyJzZWNyZXQiOjF9." + "A" * 43


@pytest.fixture(params=["manager", "session"])
def any_ref(
    request: pytest.FixtureRequest, tmp_path: Path, ref: pykka.ActorRef[Any]
) -> pykka.ActorRef[Any]:
    """Each of the two actors."""
    return ref if request.param == "manager" else keyturn.Session.start(tmp_path / "token")


@pytest.fixture
def host_ring() -> HostKeyRing:
    return HostKeyRing()


@pytest.fixture
def hosted(host_ring: HostKeyRing, log: EventLog) -> pykka.ActorRef[Any]:
    """A session manager with a host's key ring."""
    return SessionManager.start(log, host_ring)


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    for name in ("pykka", "keyturn"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


# --- unknown messages --------------------------------------------------------------------------


@pytest.mark.parametrize("message", [{"type": "reset"}, None, 5, object(), TOKEN])
def test_g8_an_unknown_message_is_an_error_that_names_the_known_ones(
    any_ref: pykka.ActorRef[Any], message: object
) -> None:
    with pytest.raises(UnknownMessageError) as caught:
        any_ref.ask(message, timeout=30)

    known = {message.__name__ for message in any_ref.actor_class.handlers}
    assert all(name in str(caught.value) for name in known)


def test_g8_an_unknown_message_is_not_shown_in_the_error(any_ref: pykka.ActorRef[Any]) -> None:
    with pytest.raises(UnknownMessageError) as caught:
        any_ref.ask(TOKEN, timeout=30)

    assert TOKEN not in str(caught.value)


def test_g8_a_manager_told_to_write_a_token_says_what_it_knows(ref: pykka.ActorRef[Any]) -> None:
    with pytest.raises(UnknownMessageError, match="no handler for WriteToken"):
        keyturn.ask(ref, keyturn.WriteToken(TOKEN))


def test_g8_a_manager_takes_no_session_token_at_its_start(ref: pykka.ActorRef[Any]) -> None:
    keyturn.ask(ref, keyturn.Stop())

    with pytest.raises(UnknownMessageError, match="a Session does"):
        keyturn.ask(ref, keyturn.Start(session_token=TOKEN))


# --- messages that are told --------------------------------------------------------------------


def test_g8_a_told_message_that_fails_is_logged(
    any_ref: pykka.ActorRef[Any], everything_logged: pytest.LogCaptureFixture
) -> None:
    any_ref.tell("what nobody knows")
    any_ref.stop(timeout=30)

    errors = [record for record in everything_logged.records if record.levelname == "ERROR"]
    assert ["UnknownMessageError" in record.getMessage() for record in errors] == [True]


def test_g8_an_actor_lives_on_after_told_messages_that_fail(any_ref: pykka.ActorRef[Any]) -> None:
    for _ in range(10):
        any_ref.tell("what nobody knows")

    assert keyturn.ask(any_ref, keyturn.Stop()) is None


# --- exceptions nobody foresaw -----------------------------------------------------------------


@pytest.mark.parametrize("error", [SystemExit("bye"), KeyboardInterrupt(), GeneratorExit()])
def test_g8_what_would_end_a_process_is_a_failed_message_to_its_asker(
    hosted: pykka.ActorRef[Any], host_ring: HostKeyRing, error: BaseException
) -> None:
    host_ring.before_sign = raises(error)

    with pytest.raises(MessageFailedError, match=f"ResetKey raised {type(error).__name__}"):
        keyturn.ask(hosted, keyturn.ResetKey())


def test_g8_what_would_end_a_process_leaves_other_actors_alive(
    hosted: pykka.ActorRef[Any], host_ring: HostKeyRing, ear: Any
) -> None:
    host_ring.before_sign = raises(SystemExit())

    with pytest.raises(MessageFailedError):
        keyturn.ask(hosted, keyturn.ResetKey())

    assert ear.ref.is_alive()


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), ValueError("broken")])
def test_g8_a_manager_goes_on_from_the_log_after_an_unexpected_error(
    hosted: pykka.ActorRef[Any], host_ring: HostKeyRing, error: BaseException
) -> None:
    token = keyturn.ask(hosted, keyturn.CreateToken())
    host_ring.before_sign = raises(error)
    with pytest.raises(MessageFailedError):
        keyturn.ask(hosted, keyturn.ResetKey())
    host_ring.before_sign = lambda: None

    before = keyturn.ask(hosted, keyturn.VerifyToken(token))
    keyturn.ask(hosted, keyturn.ResetKey())

    key = keyturn.ask(hosted, keyturn.SetupKey())
    assert (before, key.generation) == (True, 2)


def test_g8_an_error_of_the_hosts_key_ring_reaches_the_asker(
    hosted: pykka.ActorRef[Any], host_ring: HostKeyRing
) -> None:
    host_ring.before_sign = raises(ConnectionError("the key service is away"))

    with pytest.raises(ConnectionError, match="the key service is away"):
        hosted.ask(keyturn.ResetKey(), timeout=30)
    with pytest.raises(MessageFailedError, match="raised ConnectionError"):
        keyturn.ask(hosted, keyturn.ResetKey())


def test_g8_a_proxy_call_with_wrong_arguments_is_the_callers_type_error(
    ref: pykka.ActorRef[Any],
) -> None:
    proxy: Any = ref.proxy()

    with pytest.raises(TypeError, match="nexpected keyword argument"):
        proxy.create_token(expires=5).get(timeout=30)


def test_g8_an_actor_goes_on_after_a_proxy_call_with_wrong_arguments(
    ref: pykka.ActorRef[Any],
) -> None:
    proxy: Any = ref.proxy()
    with pytest.raises(TypeError):
        proxy.create_token(1, 2, 3, 4, 5).get(timeout=30)

    token = proxy.create_token().get(timeout=30)

    assert keyturn.ask(ref, keyturn.VerifyToken(token))


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), ValueError("broken")])
def test_g8_what_a_proxied_call_raises_reaches_the_caller_and_ends_no_actor(
    hosted: pykka.ActorRef[Any], host_ring: HostKeyRing, ear: Any, error: BaseException
) -> None:
    proxy: Any = hosted.proxy()
    host_ring.before_sign = raises(error)

    with pytest.raises((MessageFailedError, ValueError)):
        proxy.reset_key().get(timeout=30)

    host_ring.before_sign = lambda: None
    proxy.reset_key().get(timeout=30)
    assert (keyturn.ask(hosted, keyturn.SetupKey()).generation, ear.ref.is_alive()) == (2, True)


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), ValueError("broken")])
def test_g8_an_actor_lives_on_after_a_told_message_that_raises_anything(
    hosted: pykka.ActorRef[Any],
    host_ring: HostKeyRing,
    ear: Any,
    error: BaseException,
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    host_ring.before_sign = raises(error)
    hosted.tell(keyturn.ResetKey())
    hosted.proxy().reset_key.defer()
    with pytest.raises(KeyturnError):
        keyturn.ask(hosted, keyturn.ResetKey())
    host_ring.before_sign = lambda: None

    keyturn.ask(hosted, keyturn.ResetKey())

    lines = [record.getMessage() for record in everything_logged.records]
    assert len([line for line in lines if "nobody waits for failed" in line]) == 2
    assert ear.ref.is_alive()


class UnspeakableError(Exception):
    """An error of a host that cannot be shown."""

    def __str__(self) -> str:
        raise SystemExit


def test_g8_an_actor_lives_on_after_an_error_that_cannot_be_shown(
    hosted: pykka.ActorRef[Any], host_ring: HostKeyRing
) -> None:
    host_ring.before_sign = raises(UnspeakableError())

    hosted.tell(keyturn.ResetKey())

    with pytest.raises(UnspeakableError):
        hosted.ask(keyturn.ResetKey(), timeout=30)


class CannotRecover(SupervisedActor):
    """An actor that fails, and then fails to recover."""

    def handle(self, message: Any) -> Any:
        raise ValueError("the first")

    def recover(self) -> None:
        raise SystemExit("the second")


def test_g8_an_actor_that_cannot_recover_lives_on_and_its_asker_gets_the_first_error() -> None:
    ref = CannotRecover.start(None)

    for _ in range(2):
        with pytest.raises(ValueError, match="the first"):
            ref.ask("anything", timeout=30)


def test_g8_an_unexpected_error_is_logged_with_the_message_it_befell(
    hosted: pykka.ActorRef[Any],
    host_ring: HostKeyRing,
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    host_ring.before_sign = raises(SystemExit())

    with pytest.raises(MessageFailedError):
        keyturn.ask(hosted, keyturn.ResetKey())

    lines = [record.getMessage() for record in everything_logged.records]
    assert any("unexpected error" in line and "ResetKey" in line for line in lines)


class BrokenLogger:
    """A host's logger that cannot log errors."""

    def info(self, *args: object, **kwargs: object) -> None:
        pass

    def error(self, *args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("broken")


def test_g8_a_manager_goes_on_when_even_its_logger_is_broken(
    host_ring: HostKeyRing, log: EventLog
) -> None:
    ref = SessionManager.start(log, host_ring, logger=BrokenLogger())  # type: ignore[arg-type]
    host_ring.before_sign = raises(ValueError("broken too"))
    with pytest.raises(ValueError, match="broken too"):
        ref.ask(keyturn.ResetKey(), timeout=30)
    host_ring.before_sign = lambda: None

    keyturn.ask(ref, keyturn.ResetKey())

    assert keyturn.ask(ref, keyturn.SetupKey()).generation == 2


def test_g8_a_manager_goes_on_when_its_logger_cannot_say_that_a_told_message_failed(
    log: EventLog, key_ring: KeyRing
) -> None:
    ref = SessionManager.start(log, key_ring, logger=BrokenLogger())  # type: ignore[arg-type]

    ref.tell("what nobody knows")

    assert keyturn.ask(ref, keyturn.SetupKey()).generation == 1


def test_g8_a_manager_goes_on_when_somebody_cannot_bear_its_reply(
    any_ref: pykka.ActorRef[Any],
) -> None:
    reply: Any = any_ref.ask("what nobody knows", block=False)
    reply.then(raises(SystemExit()))

    with pytest.raises(UnknownMessageError):
        reply.get(timeout=30)
    with pytest.raises(UnknownMessageError):
        any_ref.ask("what nobody knows", timeout=30)


def test_g1_a_reset_is_acknowledged_when_the_logger_cannot_say_so(
    log: EventLog, key_ring: KeyRing
) -> None:
    logger = BrokenLogger()
    logger.info = logger.error  # type: ignore[method-assign]
    ref = SessionManager.start(log, key_ring, logger=logger)  # type: ignore[arg-type]

    keyturn.ask(ref, keyturn.ResetKey())

    assert keyturn.ask(ref, keyturn.SetupKey()).generation == 2


def test_g8_pykka_logs_nothing_of_what_an_asker_is_told(
    any_ref: pykka.ActorRef[Any], everything_logged: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UnknownMessageError):
        any_ref.ask("what nobody knows", timeout=30)

    assert "what nobody knows" not in everything_logged.text
    assert "UnknownMessageError" not in everything_logged.text


# --- leaks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        keyturn.VerifyToken(TOKEN),
        keyturn.RefreshToken(TOKEN),
        keyturn.InspectToken(TOKEN),
        keyturn.Start(session_token=TOKEN),
        keyturn.WriteToken(TOKEN, replacing=TOKEN),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_with_a_token_does_not_show_it(message: object) -> None:
    shown = f"{message!r} {message}"

    assert TOKEN not in shown


def test_the_error_of_a_refused_token_does_not_show_it(ref: pykka.ActorRef[Any]) -> None:
    with pytest.raises(TokenRefusedError) as caught:
        keyturn.ask(ref, keyturn.RefreshToken(TOKEN))

    assert TOKEN not in f"{caught.value!r} {vars(caught.value)}"


def test_the_error_of_a_refused_token_shows_where_in_the_actor_it_was_raised(
    ref: pykka.ActorRef[Any],
) -> None:
    with pytest.raises(TokenRefusedError) as caught:
        keyturn.ask(ref, keyturn.RefreshToken(TOKEN))

    frames = [str(entry.path) for entry in caught.traceback]
    assert any("token_issuer" in frame for frame in frames)


def test_nothing_that_is_logged_about_tokens_shows_one_or_a_secret(
    start_manager: Callable[..., pykka.ActorRef[Any]],
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    ref = start_manager()
    secret = keyturn.ask(ref, keyturn.SetupKey()).secret
    token = keyturn.ask(ref, keyturn.CreateToken())
    keyturn.ask(ref, keyturn.ResetKey())

    with pytest.raises(TokenRefusedError):
        keyturn.ask(ref, keyturn.RefreshToken(token))
    ref.tell(keyturn.RefreshToken(token))
    keyturn.ask(ref, keyturn.VerifyToken(token))
    ref.stop(timeout=30)

    text = everything_logged.text
    assert ("token refused" in text, token in text, token[-43:] in text) == (True, False, False)
    assert (secret.hex() in text, repr(secret)[2:-1] in text) == (False, False)
