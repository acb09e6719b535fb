"""G9: Whatever is done in whatever order, a token is good if and only if a model says so.

The model never forgets an end, and knows nothing of positions that are read from. Hypothesis
makes up what happens to two services on one log; after each step both of them, and a reader that
opens the log anew, must say of every token what the model says.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import keyturn
from keyturn import KeyRing, Service, Transaction
from keyturn.domain import tokens
from keyturn.domain.errors import SessionArgumentError, TokenRefusedError
from keyturn.domain.options import ManagerOptions
from keyturn.domain.session_keys import SessionKeys
from keyturn.projections.head_reader import HeadReader
from keyturn.testing import ManualClock
from keyturn.testing.clocked_service import serve

EXPIRY = 3600


@dataclass
class Session:
    subject: str
    began: int
    is_ended: bool = False


@dataclass
class Token:
    text: str
    session: Session
    generation: int
    expires_at: int
    """The last second in which it is good."""


class Model:
    """What should be: it only ever adds to what it knows."""

    def __init__(self) -> None:
        self.position = 1
        self.generation = 1
        self.until: dict[int, float] = {}
        """When the overlap of a generation ends."""
        self.tokens: list[Token] = []
        self.sessions: dict[str, Session] = {}

    def is_good(self, token: Token, now: float) -> bool:
        current = token.generation == self.generation
        has_key = current or now < self.until.get(token.generation, 0)
        return has_key and not token.session.is_ended and now < token.expires_at + 1

    def may_end(self, token: Token, now: float) -> bool:
        current = token.generation == self.generation
        return current or now < self.until.get(token.generation, 0)

    def end(self, session: Session) -> None:
        self.position += 1
        session.is_ended = True

    def end_all(self, subject: str, keep: Session | None) -> None:
        self.position += 1
        for session in self.sessions.values():
            if (
                session.subject == subject
                and session is not keep
                and session.began < self.position
            ):
                session.is_ended = True

    def new_key(self, until: dict[int, float]) -> None:
        self.position += 1
        self.generation += 1
        self.until = until


class EndedSessionsMachine(RuleBasedStateMachine):
    """Two services on one log in memory."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock(1_750_000_000.5)
        self.key_ring = KeyRing.ephemeral()
        self.set_up()
        self.model = Model()
        self.services = [self.open_service(), self.open_service()]
        self.whole: SessionKeys | None = None
        self.ended_by_sid: set[str] = set()

    def set_up(self) -> None:
        self.log = keyturn.open_event_log("memory:")

    def open_service(self) -> Service:
        return serve(self.log, self.key_ring, ManagerOptions(expiry=EXPIRY), self.clock)

    def teardown(self) -> None:
        for service in getattr(self, "services", []):
            service.close()

    # --- tokens ---

    @rule(which=st.integers(0, 1), subject=st.sampled_from(["alice", "alice", "alice", "bob"]))
    def create(self, which: int, subject: str) -> None:
        self.add_new(self.services[which].create_token(subject=subject), subject)

    @rule(which=st.integers(0, 1), number=st.integers(0, 3), expiry=st.sampled_from([None, 60]))
    def refresh(self, which: int, number: int, expiry: int | None) -> None:
        token = self.pick(number)
        if token is None:
            return
        if not self.model.is_good(token, self.clock()):
            with pytest.raises(TokenRefusedError):
                self.services[which].refresh_token(token.text, expiry)
            return
        text = self.services[which].refresh_token(token.text, expiry)
        claims = keyturn_claims(text)
        assert claims["keyturn_pos"] == token.session.began
        if expiry is None:
            old = keyturn_claims(token.text)
            assert claims["exp"] - claims["iat"] == old["exp"] - old["iat"]
        self.add(text, token.session, self.model.generation)

    # --- ends ---

    @rule(which=st.integers(0, 1), number=st.integers(0, 3))
    def end_by_token(self, which: int, number: int) -> None:
        token = self.pick(number)
        if token is None:
            return
        should_end = self.model.may_end(token, self.clock()) and not token.session.is_ended

        assert self.services[which].end_session(token=token.text) is should_end

        if should_end:
            self.model.end(token.session)

    @rule(which=st.integers(0, 1), picks=st.lists(st.integers(0, 3), max_size=3))
    def end_by_sids(self, which: int, picks: list[int]) -> None:
        sids = [keyturn_claims(t.text)["sid"] for t in map(self.pick, picks) if t]
        before = self.model.position

        count = self.services[which].end_sessions(sids=sids)

        for sid in dict.fromkeys(sids):
            self.model.sessions[sid].is_ended = True
        assert 0 <= count <= len(set(sids))
        self.model.position = before + count

    @rule(
        which=st.integers(0, 1),
        subject=st.sampled_from(["alice", "alice", "alice", "bob"]),
        keep=st.sampled_from(["nothing", "token", "sid"]),
        number=st.integers(0, 3),
    )
    def end_all(self, which: int, subject: str, keep: str, number: int) -> None:
        token = None if keep == "nothing" else self.pick(number)
        service = self.services[which]
        if token is None:
            assert service.end_sessions(subject=subject) == 1
            self.model.end_all(subject, None)
        elif keep == "sid":
            assert service.end_sessions(subject, keep=keyturn_claims(token.text)["sid"]) == 1
            self.model.end_all(subject, token.session)
        elif self.model.is_good(token, self.clock()) and token.session.subject == subject:
            assert service.end_sessions(subject, keep=token.text) == 1
            self.model.end_all(subject, token.session)
        else:
            with pytest.raises(SessionArgumentError):
                service.end_sessions(subject, keep=token.text)

    # --- keys ---

    @rule(which=st.integers(0, 1), overlap=st.sampled_from([0, 100, 100, 1000]))
    def rotate(self, which: int, overlap: int) -> None:
        self.services[which].rotate_key(overlap)
        now = self.clock()
        until = {self.model.generation: now + overlap, **self.model.until}
        self.model.new_key({g: end for g, end in until.items() if end > now})

    @rule(which=st.integers(0, 1), is_rare=st.integers(0, 3))
    def reset(self, which: int, is_rare: int) -> None:
        if is_rare == 0:
            self.services[which].reset_key()
            self.model.new_key({})

    # --- transactions ---

    @rule(
        which=st.integers(0, 1),
        commits=st.booleans(),
        work=st.lists(
            st.sampled_from(["login", "login", "end", "end all", "reset"]), min_size=1, max_size=4
        ),
        number=st.integers(0, 3),
    )
    def transaction(self, which: int, commits: bool, work: list[str], number: int) -> None:
        """Log in, end and reset in a transaction, which is committed, or aborted."""
        service, base = self.services[which], self.model.position
        then: list[Callable[[], None]] = []
        written = 0
        has_own_key = False
        logins: list[tuple[str, int, bool]] = []
        try:
            with service.transaction() as tran:
                for step in work:
                    if step == "login":
                        text = service.create_token(subject="alice", tran=tran)
                        logins.append(
                            (text, base + written if has_own_key else base, has_own_key)
                        )
                        assert keyturn_claims(text)["keyturn_pos"] == logins[-1][1]
                    elif step == "end":
                        written += self.end_in(service, tran, number, then)
                    elif step == "end all":
                        service.end_sessions("alice", tran=tran)
                        then.append(lambda: self.model.end_all("alice", None))
                        written += 1
                    else:
                        service.reset_key(tran=tran)
                        then.append(lambda: self.model.new_key({}))
                        written, has_own_key = written + 1, True
                if not commits:
                    raise InterruptedError
        except InterruptedError:
            assert not commits
        generation = self.model.generation
        resets = work.count("reset")
        for text, began, is_own in logins:
            if is_own and not commits:
                assert not service.verify_token(text)
                continue
            session = Session("alice", began)
            self.model.sessions[keyturn_claims(text)["sid"]] = session
            new = read_generation(logins, work, text)
            self.add(text, session, generation + new)
        if commits:
            for step_of_model in then:
                step_of_model()
            assert self.model.generation == generation + resets

    def end_in(
        self, service: Service, tran: Transaction, number: int, then: list[Callable[[], None]]
    ) -> int:
        token = self.pick(number)
        if token is None or not service.end_session(token=token.text, tran=tran):
            return 0
        then.append(lambda: self.model.end(token.session))
        return 1

    # --- time, and opening anew ---

    @rule(seconds=st.sampled_from([1, 99, 100, 1000, 4000]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.services[which].close()  # which leaves a log in memory as it is
        self.services[which] = self.open_service()

    # --- what must hold after each step ---

    @invariant()
    def all_agree_with_the_model(self) -> None:
        if not hasattr(self, "model"):
            return
        now = self.clock()
        fresh = HeadReader(
            self.services[0].log,
            "default",
            self.services[0].node_id,
            key_ring=self.services[0].parts.key_ring,
        ).get()
        for token in self.model.tokens:
            should_be = self.model.is_good(token, now)
            found = [service.verify_token(token.text) for service in self.services]
            try:
                tokens.verify(token.text, fresh.key_set, now)
                found.append(True)
            except TokenRefusedError:
                found.append(False)
            assert found == [should_be] * 3, token
        assert fresh.position == self.model.position
        assert fresh.keys.since == self.services[0].parts.reader.get().keys.since

    @invariant()
    def since_is_what_the_fold_of_all_gives(self) -> None:
        if not hasattr(self, "model"):
            return
        after = 0 if self.whole is None else self.whole.version
        for event in self.services[0].log.key_events("default", after=after):
            self.whole = SessionKeys.fold([event], self.whole)
            assert event.since == self.whole.since

    # --- helpers ---

    def add_new(self, text: str, subject: str) -> None:
        session = Session(subject, self.model.position)
        assert keyturn_claims(text)["keyturn_pos"] == session.began
        self.model.sessions[keyturn_claims(text)["sid"]] = session
        self.add(text, session, self.model.generation)

    def add(self, text: str, session: Session, generation: int) -> None:
        expires_at = keyturn_claims(text)["exp"]
        self.model.tokens.append(Token(text, session, generation, expires_at))

    def pick(self, number: int) -> Token | None:
        """Return one of the newest tokens."""
        newest = self.model.tokens[-4:]
        return newest[number % len(newest)] if newest else None


class OnFilesMachine(EndedSessionsMachine):
    """Two services that each open the files."""

    def set_up(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="keyturn-")

    def open_service(self) -> Service:
        return keyturn.open(
            path=Path(self.folder.name), password=None, expiry=EXPIRY, clock=self.clock
        )

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


def keyturn_claims(text: str) -> dict[str, Any]:
    """Return what a token says, whether it is good or not."""
    claims: dict[str, Any] = tokens._decode_json(
        tokens._from_base64url(text.split(".")[1].encode())
    )
    return claims


def read_generation(logins: list[tuple[str, int, bool]], work: list[str], text: str) -> int:
    """Return how many resets of a transaction came before this login in it."""
    number = [login[0] for login in logins].index(text)
    places = [place for place, step in enumerate(work) if step == "login"]
    return work[: places[number]].count("reset")


EndedSessionsMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
OnFilesMachine.TestCase.settings = settings(
    EndedSessionsMachine.TestCase.settings, max_examples=4
)
TestG9ATokenIsGoodIfAndOnlyIfTheModelSaysSo = EndedSessionsMachine.TestCase
TestG9ATokenIsGoodIfAndOnlyIfTheModelSaysSoOnFiles = OnFilesMachine.TestCase
