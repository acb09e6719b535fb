"""Ending one session, or all of a subject's: what is refused then, and what is not."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pykka
import pytest
import structlog.testing

import keyturn
from keyturn import EventLog, KeyRing, Refusal, Service, Settings
from keyturn.actors import ended_watch
from keyturn.actors.key_writer import new_secret
from keyturn.backup import export_log, import_log
from keyturn.config.anchor import folder_of as anchor_folder
from keyturn.domain import tokens
from keyturn.domain.errors import (
    AuditTextError,
    BatchError,
    ClaimError,
    KeyturnError,
    SessionArgumentError,
    TokenRefusedError,
    TransactionConflictError,
)
from keyturn.domain.options import ManagerOptions
from keyturn.domain.tokens import SessionKey, SigningKey
from keyturn.testing import ManualClock
from keyturn.testing.clocked_service import serve
from tests.actors.ways import ALL_WAYS, Way


@pytest.fixture(params=sorted(ALL_WAYS))
def way(request: pytest.FixtureRequest, memory: Service) -> Way:
    """A manager on a log in memory, called in each way."""
    made: Way = ALL_WAYS[request.param](memory)
    return made


@pytest.fixture
def memory() -> Iterator[Service]:
    with keyturn.open(store="memory:", password=None) as service:
        yield service


def kinds(service: Service) -> list[str]:
    return [change.kind for change in service.history()]


def refusal_of(service: Any, token: str) -> Refusal | None:
    try:
        service.authenticate(token)
    except TokenRefusedError as error:
        return error.reason
    return None


class TestOneSession:
    def test_its_token_and_those_it_was_refreshed_to_are_refused(self, manager: Way) -> None:
        token, other = (
            manager.create_token(subject="alice"),
            manager.create_token(subject="alice"),
        )
        refreshed = manager.refresh_token(token)

        assert manager.end_session(token=token) is True

        assert manager.verify_tokens([token, refreshed, other]) == [False, False, True]
        assert refusal_of(manager, refreshed) is Refusal.SESSION_ENDED
        with pytest.raises(TokenRefusedError) as raised:
            manager.refresh_token(token)
        assert raised.value.reason is Refusal.SESSION_ENDED

    def test_it_can_be_named_by_its_sid(self, manager: Way) -> None:
        token = manager.create_token()

        assert manager.end_session(sid=manager.authenticate(token).sid) is True

        assert not manager.verify_token(token)

    def test_a_session_that_is_ended_already_is_not_ended_again(
        self, way: Way, memory: Service
    ) -> None:
        token = way.create_token()
        sid = way.authenticate(token).sid
        way.end_session(token=token)

        assert way.end_session(token=token) is False
        assert way.end_session(sid=sid) is False
        assert way.end_sessions(sids=[sid, sid]) == 0

        assert kinds(memory) == ["generated", "session ended"]

    def test_a_session_that_ended_with_all_of_its_subject_is_not_ended_again_by_token(
        self, way: Way, memory: Service
    ) -> None:
        token = way.create_token(subject="alice")
        way.end_sessions("alice")

        assert way.end_session(token=token) is False

        assert kinds(memory) == ["generated", "sessions ended"]

    def test_an_expired_token_still_ends_its_session(self, way: Way, memory: Service) -> None:
        token = way.create_token(expiry=3600)
        old = expired(memory, token)
        assert refusal_of(way, old) is Refusal.EXPIRED

        assert way.end_session(token=old) is True

        assert not way.verify_token(token)

    def test_a_token_under_a_key_that_has_ended_ends_nothing(
        self, way: Way, memory: Service
    ) -> None:
        token = way.create_token()
        way.reset_key()

        assert way.end_session(token=token) is False

        assert kinds(memory) == ["generated", "reset"]

    def test_who_when_and_why_are_recorded_and_the_token_is_not(
        self, way: Way, memory: Service
    ) -> None:
        token = way.create_token(subject="alice")

        way.end_session(token=token, reason="logged out", initiator="alice")

        change = list(memory.history())[-1]
        assert (change.kind, change.reason, change.initiator) == (
            "session ended",
            "logged out",
            "alice",
        )
        assert token.split(".")[2].encode() not in b"".join(
            row.state for row in memory.log.rows() if isinstance(row.state, bytes)
        )

    def test_many_sids_are_ended_in_one_commit(self, manager: Way) -> None:
        issued = manager.create_tokens(30, subject="alice")
        sids = [manager.authenticate(token).sid for token in issued]

        assert manager.end_sessions(sids=[*sids[:20], sids[0]]) == 20
        assert manager.end_sessions(sids=sids[10:25]) == 5

        assert manager.verify_tokens(issued) == [False] * 25 + [True] * 5


def expired(service: Service, token: str) -> str:
    """Return a token of the same session that has expired."""
    key = keyturn.ask(service.manager, keyturn.SetupKey())
    who = service.authenticate(token)
    session = tokens.session_of(who.token_claims)
    now = who.issued_at.timestamp() - 1000
    signing = SigningKey(key)
    return tokens.mint(
        signing, service.node_id, session.subject, session.began, now, 1, session=session
    )


class TestAllOfASubject:
    def test_those_that_have_begun_are_refused_and_later_ones_and_others_are_good(
        self, manager: Way
    ) -> None:
        before, other = manager.create_token(subject="alice"), manager.create_token(subject="bob")

        assert manager.end_sessions("alice", reason="password changed", initiator="alice") == 1

        after = manager.create_token(subject="alice")
        assert manager.verify_tokens([before, other, after]) == [False, True, True]
        assert manager.verify_token(manager.refresh_token(after))

    def test_a_session_is_kept_by_its_token_or_by_its_sid(self, manager: Way) -> None:
        kept, other = manager.create_token(subject="alice"), manager.create_token(subject="alice")
        sid = manager.authenticate(kept).sid

        manager.end_sessions("alice", keep=kept)
        manager.end_sessions("alice", keep=sid)

        assert manager.verify_tokens([kept, other]) == [True, False]
        assert manager.verify_token(manager.refresh_token(kept))

    def test_what_an_earlier_end_has_ended_keep_does_not_revive(self, manager: Way) -> None:
        token = manager.create_token(subject="alice")
        sid = manager.authenticate(token).sid
        manager.end_sessions("alice")

        manager.end_sessions("alice", keep=sid)

        assert not manager.verify_token(token)

    def test_a_subject_without_a_session_is_recorded_too(self, way: Way, memory: Service) -> None:
        assert way.end_sessions("nobody") == 1
        assert way.end_sessions("nobody") == 1

        assert kinds(memory) == ["generated", "sessions ended", "sessions ended"]

    def test_the_node_is_a_subject_too(self, way: Way, memory: Service) -> None:
        token = way.create_token()

        way.end_sessions(memory.node_id)

        assert not way.verify_token(token)


class TestBadInput:
    """Each is a clear reply or error, and nothing is written that was not asked for."""

    @pytest.mark.parametrize(
        "token", ["", "a.b.c", "x" * 10_000, b"bytes", 5, ["a"], "a\x00b", "é", float("nan")]
    )
    def test_what_is_no_token_ends_nothing(
        self, way: Way, memory: Service, token: object
    ) -> None:
        assert way.end_session(token=token) is False
        assert kinds(memory) == ["generated"]

    def test_a_token_of_another_node_or_manager_ends_nothing(
        self, way: Way, memory: Service
    ) -> None:
        with keyturn.open(store="memory:", password=None) as other:
            foreign = other.create_token()
        of_another_manager = memory.named("another").create_token()

        assert way.end_session(token=foreign) is False
        assert way.end_session(token=of_another_manager) is False

        assert kinds(memory) == ["generated"]

    def test_a_forged_token_ends_nothing(self, way: Way, memory: Service) -> None:
        token = way.create_token()
        key_id = tokens.read_key_id(token)
        assert key_id is not None
        forged = tokens.mint(
            SigningKey(SessionKey(1, key_id, new_secret().reveal())),
            memory.node_id,
            "alice",
            1,
            0,
            None,
        )

        assert way.end_session(token=forged) is False
        assert way.end_session(token=token[:-1]) is False

        assert kinds(memory) == ["generated"]

    @pytest.mark.parametrize(
        "sid", ["", "x" * 101, "x" * 10_000, "a\nb", "a\x00", 5, b"s", ["s"]]
    )
    def test_what_cannot_be_a_sid_is_an_error(
        self, way: Way, memory: Service, sid: object
    ) -> None:
        with pytest.raises(SessionArgumentError, match="sid"):
            way.end_session(sid=sid)
        with pytest.raises(SessionArgumentError, match="sid"):
            way.end_sessions(sids=["good", sid])
        with pytest.raises(SessionArgumentError, match="sid"):
            way.end_sessions("alice", keep=sid)

        assert kinds(memory) == ["generated"]

    def test_the_sid_of_another_manager_is_taken_at_its_word_and_does_no_harm(
        self, way: Way, memory: Service
    ) -> None:
        other = memory.named("another")
        token = other.create_token()

        assert way.end_session(sid=other.authenticate(token).sid) is True

        assert other.verify_token(token)

    @pytest.mark.parametrize(
        "sids", ["abc", b"abc", 5, ["s"] * 10_001], ids=["text", "bytes", "number", "too many"]
    )
    def test_what_is_no_list_of_sids_is_an_error(
        self, way: Way, memory: Service, sids: object
    ) -> None:
        with pytest.raises(BatchError, match="sids"):
            way.end_sessions(sids=sids)

        assert kinds(memory) == ["generated"]

    def test_an_empty_list_of_sids_ends_nothing(self, way: Way, memory: Service) -> None:
        assert way.end_sessions(sids=[]) == 0
        assert kinds(memory) == ["generated"]

    @pytest.mark.parametrize("subject", ["", 5, b"alice", ["alice"], "x" * 10_000, "\ud800"])
    def test_what_cannot_be_a_subject_is_an_error(
        self, way: Way, memory: Service, subject: object
    ) -> None:
        with pytest.raises(ClaimError, match=r"subject|sub"):
            way.end_sessions(subject)

        assert kinds(memory) == ["generated"]

    def test_a_subject_with_control_characters_can_begin_and_end_sessions(self, way: Way) -> None:
        token = way.create_token(subject="al\nice\x00")

        way.end_sessions("al\nice\x00")

        assert not way.verify_token(token)

    def test_a_token_to_keep_that_is_not_good_is_an_error(
        self, way: Way, memory: Service
    ) -> None:
        token, other = way.create_token(subject="alice"), way.create_token(subject="alice")
        ended = way.create_token(subject="alice")
        way.end_session(token=ended)
        before = kinds(memory)

        for keep in (token[:-1], ended, "a.b.c", "." * 10_000, expired(memory, token)):
            with pytest.raises(SessionArgumentError, match="keep is not good"):
                way.end_sessions("alice", keep=keep)

        assert way.verify_tokens([token, other]) == [True, True]
        assert kinds(memory) == before

    def test_a_token_to_keep_of_another_subject_is_an_error(
        self, way: Way, memory: Service
    ) -> None:
        token, other = way.create_token(subject="alice"), way.create_token(subject="bob")

        with pytest.raises(SessionArgumentError, match="another subject"):
            way.end_sessions("alice", keep=other)

        assert way.verify_token(token)
        assert kinds(memory) == ["generated"]

    @pytest.mark.parametrize(
        "arguments", [{"reason": 5}, {"reason": "x" * 10_000}, {"initiator": b"me"}]
    )
    def test_a_bad_reason_or_initiator_is_an_error_whatever_there_is_to_end(
        self, way: Way, memory: Service, arguments: dict[str, Any]
    ) -> None:
        token = way.create_token(subject="alice")

        with pytest.raises(AuditTextError):
            way.end_session(token=token, **arguments)
        with pytest.raises(AuditTextError):
            way.end_session(token="nothing to end", **arguments)
        with pytest.raises(AuditTextError):
            way.end_sessions("alice", **arguments)
        with pytest.raises(AuditTextError):
            way.end_sessions(sids=["a", "b"], **arguments)

        assert way.verify_token(token)
        assert kinds(memory) == ["generated"]

    def test_neither_or_both_of_two_arguments_is_an_error(
        self, way: Way, memory: Service
    ) -> None:
        token = way.create_token(subject="alice")

        for call in (
            way.end_session,
            lambda: way.end_session(token=token, sid="s"),
            way.end_sessions,
            lambda: way.end_sessions("alice", sids=["s"]),
            lambda: way.end_sessions(sids=["s"], keep="t"),
            lambda: way.end_sessions(keep="t"),
        ):
            with pytest.raises(SessionArgumentError):
                call()

        assert way.verify_token(token)
        assert kinds(memory) == ["generated"]

    def test_no_error_says_a_token(self, way: Way) -> None:
        token = way.create_token(subject="bob")

        with pytest.raises(KeyturnError) as raised:
            way.end_sessions("alice", keep=token)

        assert token not in f"{raised.value!r} {raised.value} {raised.value.__cause__!r}"
        assert token not in repr(keyturn.EndSession(token=token))
        assert token not in repr(keyturn.EndSessions("alice", keep=token))
        assert token not in repr(keyturn.Authenticate(token))


class TestTransactions:
    def test_an_end_takes_effect_with_the_commit(self, way: Way) -> None:
        token, other = way.create_token(subject="alice"), way.create_token(subject="bob")

        with way.transaction() as tran:
            assert way.end_session(token=token, tran=tran) is True
            assert way.end_session(token=token, tran=tran) is False
            assert way.end_sessions("bob", tran=tran) == 1
            assert not way.verify_token(token, tran=tran)
            assert way.verify_tokens([token, other]) == [True, True]
            assert way.verify_tokens([token, other], tran=tran) == [False, False]

        assert way.verify_tokens([token, other]) == [False, False]

    def test_an_aborted_end_ends_nothing(self, way: Way, memory: Service) -> None:
        token = way.create_token(subject="alice")

        with pytest.raises(InterruptedError), way.transaction() as tran:
            way.end_session(token=token, tran=tran)
            way.end_sessions("alice", tran=tran)
            raise InterruptedError

        assert way.verify_token(way.refresh_token(token))
        assert kinds(memory) == ["generated"]

    def test_a_login_in_an_aborted_transaction_does_not_outlive_a_later_end(
        self, way: Way
    ) -> None:
        with pytest.raises(InterruptedError), way.transaction() as tran:
            for subject in ("bob", "carol", "dave"):
                way.end_sessions(subject, tran=tran)
            token = way.create_token(subject="alice", tran=tran)
            raise InterruptedError

        assert way.verify_token(token)
        for subject in ("alice", "erin", "frank", "grace"):
            way.end_sessions(subject)

            assert not way.verify_token(token)

    def test_a_login_after_a_reset_in_the_same_transaction_is_good_once_it_is_committed(
        self, way: Way
    ) -> None:
        with way.transaction() as tran:
            way.reset_key(tran=tran)
            way.end_sessions("alice", tran=tran)
            token = way.create_token(subject="alice", tran=tran)
            assert way.verify_token(token, tran=tran)

        assert way.verify_token(token)

    def test_an_end_by_another_makes_a_transaction_fail_and_stays(self, memory: Service) -> None:
        token = memory.create_token(subject="alice")

        with pytest.raises(TransactionConflictError), memory.transaction() as tran:
            memory.end_session(token=token)
            memory.reset_key(tran=tran)

        assert not memory.verify_token(token)


# --- order, not clocks -------------------------------------------------------------------------


class BehindLog:
    """A log that does not notice changes for a while, as PostgreSQL within `max_staleness`."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.is_behind = False
        self._last: object = None

    def changes(self) -> object:
        if not self.is_behind:
            self._last = self._log.changes()
        return self._last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


@pytest.fixture
def two(key_ring: KeyRing) -> Iterator[tuple[Service, Service, BehindLog]]:
    """Two services on one log, whose clocks are an hour apart; the second may be behind."""
    log = keyturn.open_event_log("memory:")
    behind: Any = BehindLog(log)
    early, late = ManualClock(1_750_000_000), ManualClock(1_750_003_600)
    first = serve(log, key_ring, ManagerOptions(expiry=None), early)
    second = serve(behind, key_ring, ManagerOptions(expiry=None), late)
    yield first, second, behind
    behind.is_behind = False
    second.close()
    first.close()


class TestOrder:
    def test_clocks_an_hour_apart_decide_nothing(
        self, two: tuple[Service, Service, BehindLog]
    ) -> None:
        for service, other in (two[:2], two[1::-1]):
            before = other.create_token(subject="alice")
            service.end_sessions("alice")
            after = [s.create_token(subject="alice") for s in (service, other)]

            for judge in (service, other):
                assert not judge.verify_token(before)
                assert judge.verify_tokens(after) == [True, True]

    def test_logins_within_the_second_of_the_end_are_on_their_own_side_of_it(
        self, two: tuple[Service, Service, BehindLog]
    ) -> None:
        service = two[0]  # whose clock stands still
        for _ in range(20):
            before = service.create_token(subject="alice")
            service.end_sessions("alice")
            after = service.create_token(subject="alice")
            assert service.verify_tokens([before, after]) == [False, True]

    def test_a_session_begun_by_who_has_not_read_the_end_is_ended_by_it(
        self, two: tuple[Service, Service, BehindLog]
    ) -> None:
        service, other, behind = two
        behind.is_behind = True
        service.end_sessions("alice")

        token = other.create_token(subject="alice")
        refreshed = other.refresh_token(token)

        assert service.verify_tokens([token, refreshed]) == [False, False]
        behind.is_behind = False
        assert other.verify_tokens([token, refreshed]) == [False, False]

    def test_who_is_behind_reads_the_log_before_it_refuses_a_session_that_began_later(
        self, two: tuple[Service, Service, BehindLog]
    ) -> None:
        service, other, behind = two
        service.end_sessions("alice")
        for judge in (
            other.verify_token,
            other.authenticate,
            other.refresh_token,
            lambda token: other.verify_tokens(["x", token])[1],
        ):
            assert other.verify_token(other.create_token())
            behind.is_behind = True
            service.end_sessions("bob")
            token = service.create_token(subject="alice")

            assert judge(token)

            behind.is_behind = False

    @pytest.mark.parametrize("claim", ["7", 7.5, -1, 2**63, 10**15, True, None, [1]])
    def test_a_token_of_version_0_1_with_a_claim_of_that_name_began_before_all_others(
        self, memory: Service, claim: Any
    ) -> None:
        key = SigningKey(keyturn.ask(memory.manager, keyturn.SetupKey()))
        claims = memory.authenticate(memory.create_token(subject="alice")).token_claims
        old = with_claims(key, {**claims, "keyturn_pos": claim})
        without = with_claims(key, {n: v for n, v in claims.items() if n != "keyturn_pos"})
        issued = [old, without, memory.refresh_token(old), memory.refresh_token(without)]
        assert memory.verify_tokens(issued) == [True] * 4

        memory.end_sessions("alice")

        assert memory.verify_tokens(issued) == [False] * 4


def with_claims(key: SigningKey, claims: dict[str, Any]) -> str:
    payload = tokens._base64url(tokens._encode_json(claims))
    return f"{key.header}.{payload.decode()}.{key.signature(payload).decode()}"


# --- races -------------------------------------------------------------------------------------

ROUNDS = 16
THREADS = 4


def ends(service: Service, token: str) -> list[Callable[[], object]]:
    sid = service.authenticate(token).sid
    return [
        lambda: service.end_session(token=token),
        lambda: service.end_session(sid=sid),
        lambda: service.end_sessions("alice"),
        lambda: service.end_sessions(sids=[sid, "another"]),
    ]


@pytest.mark.usefixtures("quick_switches")
def test_no_refresh_in_another_thread_outlives_the_end(service: Service) -> None:
    got = queue.Queue[str]()
    together = threading.Barrier(THREADS + 1, timeout=60)
    presented = [""]

    def refresh_until_refused() -> None:
        for _ in range(ROUNDS):
            together.wait()
            for _ in range(100_000):
                try:
                    presented[0] = service.refresh_token(presented[0])
                    got.put(presented[0])
                except TokenRefusedError:
                    break
            together.wait()

    threads = [threading.Thread(target=refresh_until_refused) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    refreshes, alive = 0, list[str]()
    for number in range(ROUNDS):
        token = presented[0] = service.create_token(subject="alice")
        end = ends(service, token)[number % 4]
        together.wait()
        end()
        got_then = [got.get() for _ in range(got.qsize())]
        alive += [t for t in (token, *got_then) if service.verify_token(t)]
        together.wait()
        got_later = [got.get() for _ in range(got.qsize())]
        alive += [t for t in got_later if service.verify_token(t)]
        refreshes += len(got_then) + len(got_later)
    for thread in threads:
        thread.join(60)

    assert alive == []
    assert refreshes > 5 * ROUNDS


REFRESHER = """
import json, sys, keyturn
from keyturn.domain.errors import TokenRefusedError
with keyturn.open(path=sys.argv[1], password=None) as service:
    print("ready", flush=True)
    for line in sys.stdin:
        tokens = [line.strip()]
        print("refreshing", flush=True)
        while True:
            try:
                tokens.append(service.refresh_token(tokens[-1]))
            except TokenRefusedError:
                break
        good = [token for token in tokens if service.verify_token(token)]
        print(json.dumps([len(tokens), tokens[-500:], good]), flush=True)
"""


@pytest.mark.usefixtures("each_shared_store")
def test_no_refresh_in_another_process_outlives_the_end(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        other = subprocess.Popen(
            [sys.executable, "-c", REFRESHER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        refreshes, alive = 0, list[str]()
        for number in range(ROUNDS):
            token = service.create_token(subject="alice")
            end = ends(service, token)[number % 4]
            other.stdin.write(token + "\n")
            other.stdin.flush()
            assert other.stdout.readline() == "refreshing\n"
            end()
            count, got, good = json.loads(other.stdout.readline())
            refreshes += count
            alive += [*good, *(t for t in got if service.verify_token(t))]
            after = service.create_token(subject="alice")
            assert service.verify_token(after)
        other.communicate(timeout=30)

    assert alive == []
    assert refreshes > ROUNDS


@pytest.mark.usefixtures("quick_switches")
def test_an_ended_session_is_never_good_while_its_subject_is_ended_again_and_again(
    memory: Service,
) -> None:
    token = memory.create_token(subject="alice")
    memory.end_sessions("alice")
    is_over, verdicts = threading.Event(), list[bool]()

    def verify() -> None:
        while not is_over.is_set():
            verdicts.append(memory.verify_token(token))

    threads = [threading.Thread(target=verify) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(80):
        memory.end_sessions("alice")
        assert memory.verify_token(memory.create_token(subject="alice"))
    is_over.set()
    for thread in threads:
        thread.join(60)

    assert len(verdicts) > 100
    assert not any(verdicts)


# --- G9: an ended session stays ended ----------------------------------------------------------


def test_g9_an_ended_session_stays_ended_after_a_restart_and_rotations(
    store_url: str, tmp_path: Path
) -> None:
    if store_url == "memory:":
        pytest.skip("a log in memory ends with its service")
    where: dict[str, Any] = {"path": tmp_path / "data", "store": store_url, "password": None}
    with keyturn.open(**where) as service:
        by_token, by_subject = (service.create_token(subject=s) for s in ("alice", "bob"))
        good = service.create_token(subject="bob")
        service.end_session(token=by_token)
        service.end_sessions("bob", keep=good)

    for _ in range(3):
        with keyturn.open(**where) as service, keyturn.open(**where) as second:
            for judge in (service, second):
                assert judge.verify_tokens([by_token, by_subject, good]) == [False, False, True]
            service.rotate_key(3600)
            for judge in (service, second):
                assert judge.verify_tokens([by_token, by_subject, good]) == [False, False, True]


def test_g9_an_ended_session_stays_ended_through_an_export_and_an_import(tmp_path: Path) -> None:
    first, second = Settings(path=tmp_path / "first"), Settings(path=tmp_path / "second")
    with keyturn.open(first, password=None) as service:
        ended, good = service.create_tokens(2, subject="alice")
        service.end_session(token=ended)
        service.rotate_key(3600)
    file = BytesIO()
    export_log(first, file)
    second.data_folder.mkdir()
    shutil.copy(first.key_ring_path, second.data_folder)
    shutil.copytree(anchor_folder(first.anchor_path), anchor_folder(second.anchor_path))

    file.seek(0)
    import_log(second, file)

    with keyturn.open(second, password=None) as service:
        assert service.verify_tokens([ended, good]) == [False, True]


@pytest.mark.usefixtures("each_shared_store")
def test_g9_a_second_process_refuses_it_at_once(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    code = (
        "import sys, keyturn\n"
        "with keyturn.open(path=sys.argv[1], password=None) as service:\n"
        "    print(service.verify_tokens(sys.argv[2:]))\n"
        "    service.end_session(token=sys.argv[3])\n"
    )
    with keyturn.open(path=tmp_path, password=None) as service:
        issued = service.create_tokens(3)
        service.end_session(token=issued[0])

        done = run_python(code, tmp_path, *issued)

        assert done.stdout == "[False, True, True]\n"
        assert service.verify_tokens(issued) == [False, False, True]


# --- too many ----------------------------------------------------------------------------------


def warnings_of(log: EventLog, key_ring: KeyRing, action: Callable[[Any], None]) -> list[int]:
    with structlog.testing.capture_logs() as captured:
        ref = keyturn.SessionManager.start(log, key_ring)
        try:
            action(ref.proxy())
        finally:
            ref.stop()
    return [
        entry["ended_sessions"]
        for entry in captured
        if entry["event"] == "many ended sessions are remembered"
        and "rotate_every" in entry["advice"]
        and entry["log_level"] == "warning"
    ]


def test_many_remembered_ends_are_warned_of_and_then_each_doubling(
    key_ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_watch, "MANY_ENDED", 10)
    log = keyturn.open_event_log("memory:")

    def end_one_by_one(manager: Any) -> None:
        for number in range(45):
            manager.end_session(sid=f"s{number}").get()

    def reset_and_end_again(manager: Any) -> None:
        manager.reset_key().get()
        manager.end_sessions(sids=[f"s{number}" for number in range(12)]).get()

    assert warnings_of(log, key_ring, end_one_by_one) == [10, 20, 40]
    assert warnings_of(log, key_ring, reset_and_end_again) == [45, 12]
    pykka.ActorRegistry.stop_all()
    log.close()


@pytest.mark.parametrize("asked", ["one", "many"])
def test_a_session_that_began_beyond_what_was_read_is_not_taken_for_one_ended_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    with (
        keyturn.open(path=tmp_path, password=None) as other,
        keyturn.open(path=tmp_path, password=None) as service,
    ):
        other.end_sessions(subject="alice")
        assert not service.verify_token("none")
        known = service.log.changes()
        monkeypatch.setattr(service.log, "changes", lambda: known)  # it hears of nothing
        other.end_session(sid="another")
        token = other.create_token(subject="alice")

        if asked == "one":
            assert service.authenticate(token).subject == "alice"
        else:
            [who] = service.authenticate_tokens([token])
            assert isinstance(who, keyturn.Authenticated)
