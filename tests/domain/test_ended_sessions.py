"""What is remembered of ended sessions, and for how long, beside a model that never forgets."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyturn import KeyRing
from keyturn.domain.ended_sessions import EndedSessions
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.session_keys import Origin, SessionKeys
from keyturn.domain.tokens import KeySet, began_at
from tests.domain.builders import NOON, good_claims, origin, secret

RING = KeyRing.ephemeral()


def ended_at(*ends: tuple[str, str | None, int]) -> EndedSessions:
    """Ends of subjects: whose, what is kept, and where; all in generation 1."""
    ended = EndedSessions()
    for subject, keep, position in ends:
        ended.end_subject(subject, keep, position, 1)
    return ended


class TestOrder:
    def test_a_session_that_was_ended_by_its_sid_is_covered_whoever_it_belongs_to(self) -> None:
        ended = EndedSessions()
        ended.end("s1", 5, 1)

        assert ended.covers("s1", "alice", 9)
        assert ended.covers("s1", "bob", 0)
        assert not ended.covers("s2", "alice", 0)

    def test_sessions_that_began_before_the_end_are_covered_and_later_ones_are_not(self) -> None:
        ended = ended_at(("alice", None, 5))

        assert [ended.covers("s", "alice", began) for began in (0, 4, 5, 6)] == [
            True,
            True,
            False,
            False,
        ]

    def test_other_subjects_are_not_covered(self) -> None:
        assert not ended_at(("alice", None, 5)).covers("s", "bob", 0)

    def test_the_kept_session_goes_on(self) -> None:
        ended = ended_at(("alice", "kept", 5))

        assert not ended.covers("kept", "alice", 0)
        assert ended.covers("other", "alice", 4)

    def test_what_an_earlier_end_has_ended_a_later_one_does_not_revive(self) -> None:
        ended = ended_at(("alice", None, 5), ("alice", "s", 8))

        assert ended.covers("s", "alice", 4)
        assert not ended.covers("s", "alice", 6)

    def test_a_session_that_is_kept_twice_goes_on(self) -> None:
        ended = ended_at(("alice", "s", 5), ("alice", "s", 8))

        assert not ended.covers("s", "alice", 1)

    def test_a_session_that_one_end_keeps_and_the_next_does_not_is_ended(self) -> None:
        ended = ended_at(("alice", "s", 5), ("alice", "t", 8), ("alice", "s", 9))

        assert ended.covers("s", "alice", 1)
        assert ended.covers("t", "alice", 6)

    def test_a_repeated_reading_of_the_same_end_changes_nothing(self) -> None:
        ended = ended_at(("alice", "s", 5), ("alice", "t", 8), ("alice", "t", 8))

        assert not ended.covers("t", "alice", 6)

    @pytest.mark.parametrize("claim", ["7", 7.0, -1, 10**30, True, None, [7], 8])
    def test_a_claim_that_is_no_position_up_to_the_head_means_before_all_others(
        self, claim: Any
    ) -> None:
        keys = KeySet(None, {}, EndedSessions(), position=7)

        assert began_at(good_claims(keyturn_pos=claim), keys) == 0

    def test_a_claim_that_is_a_position_up_to_the_head_counts(self) -> None:
        keys = KeySet(None, {}, EndedSessions(), position=7)

        assert began_at(good_claims(keyturn_pos=7), keys) == 7


def test_no_moment_is_without_the_end_of_a_subject_while_a_newer_one_takes_its_place() -> None:
    class NothingRemoved(dict[str, Any]):
        def pop(self, *args: Any) -> Any:
            raise AssertionError("another thread would find none")

        __delitem__ = clear = popitem = pop

    ended = EndedSessions({}, NothingRemoved())
    ended.end_subject("alice", None, 5, 1)

    ended.end_subject("alice", "s", 8, 1)

    assert ended.covers("s", "alice", 4)
    assert ended.covers("t", "alice", 7)


class TestDrafts:
    def test_a_draft_knows_what_it_was_made_of_and_keeps_its_own_to_itself(self) -> None:
        ended = ended_at(("alice", None, 5))
        ended.end("s1", 6, 1)

        draft = ended.draft()
        draft.end("s2", 7, 1)
        draft.end_subject("bob", None, 8, 1)
        draft.end_subject("alice", None, 9, 1)

        assert draft.covers("s1", "carol", 9)
        assert draft.covers("s2", "carol", 9)
        assert draft.covers("x", "bob", 7)
        assert draft.covers("x", "alice", 8)
        assert len(draft) == 4
        assert not ended.has_sid("s2")
        assert not ended.covers("x", "bob", 7)
        assert not ended.covers("x", "alice", 8)
        assert len(ended) == 2

    def test_what_a_draft_of_a_draft_ends_shows_in_neither(self) -> None:
        ended = EndedSessions()
        draft = ended.draft()

        draft.draft().end("s", 1, 1)

        assert not draft.has_sid("s")
        assert not ended.has_sid("s")
        assert (ended.oldest, draft.oldest) == (None, None)


class TestForgetting:
    def test_an_end_is_forgotten_once_the_keys_of_its_time_have_ended(self) -> None:
        ended = EndedSessions()
        ended.end("s1", 2, 1)
        ended.end("s2", 4, 2)
        ended.end_subject("alice", None, 6, 3)

        assert len(ended.remembering(1)) == 3
        assert [ended.remembering(g).oldest for g in (1, 2, 3, 4)] == [2, 4, 6, None]
        assert not ended.remembering(2).has_sid("s1")

    def test_the_earlier_end_of_a_kept_session_is_remembered_as_long_as_it_matters(self) -> None:
        ended = EndedSessions()
        ended.end_subject("alice", None, 2, 1)
        ended.end_subject("alice", "s", 4, 2)

        assert ended.remembering(1).oldest == 2
        assert ended.remembering(1).covers("s", "alice", 1)
        assert ended.remembering(2).oldest == 4


# --- a history of whatever, beside a model that never forgets ---------------------------------


@dataclass
class Session:
    sid: str
    subject: str
    began: int
    generations: set[int]
    """Of the keys that signed its tokens."""
    is_ended: bool = False


class History:
    """A history of keys, and what each of its sessions should be."""

    def __init__(self) -> None:
        self.keys = SessionKeys.blank("default")
        self.keys.regenerate(secret(1), RING, origin())
        self.seconds = 0.0
        self.sessions: list[Session] = []
        self.ends: list[tuple[str, int]] = []
        self.made_at = {1: 1}
        """The generation that was current from each position on."""
        self._numbers = itertools.count()

    def by(self) -> Origin:
        self.seconds += 1
        return origin(self.seconds)

    def accepted(self) -> set[int]:
        now = NOON + timedelta(seconds=self.seconds)
        overlapping = {k.generation for k in self.keys.retiring if k.good_until > now}
        return {self.keys.generation} | overlapping

    def begin(self, subject: str, behind: int = 0) -> None:
        """Begin a session at a head that is so many events behind."""
        began = max(1, self.keys.version - behind)
        generation = max(g for g, position in self.made_at.items() if position <= began)
        if generation in self.accepted():
            is_ended = any(whose == subject and p > began for whose, p in self.ends)
            sid = f"s{next(self._numbers)}"
            self.sessions.append(Session(sid, subject, began, {generation}, is_ended))

    def refresh(self, number: int) -> None:
        session = self.pick(number)
        if session and not session.is_ended and session.generations & self.accepted():
            session.generations.add(self.keys.generation)

    def end(self, number: int) -> None:
        session = self.pick(number)
        if session and not self.keys.ended.has_sid(session.sid):
            self.keys.end_session(session.sid, RING, self.by(), subject=session.subject)
            session.is_ended = True

    def end_all(self, subject: str, number: int | None) -> None:
        kept = None if number is None else self.pick(number)
        keep = None if kept is None else kept.sid
        self.keys.end_sessions(subject, RING, self.by(), keep=keep)
        for session in self.sessions:
            if session.subject == subject and session.sid != keep:
                session.is_ended = True
        self.ends.append((subject, self.keys.version))

    def rotate(self, overlap: int) -> None:
        self.keys.rotate(secret(self.keys.generation + 1), RING, self.by(), overlap=overlap)
        self.made_at[self.keys.generation] = self.keys.version

    def reset(self) -> None:
        self.keys.reset(secret(self.keys.generation + 1), RING, self.by())
        self.made_at[self.keys.generation] = self.keys.version

    def wait(self, seconds: int) -> None:
        self.seconds += seconds

    def pick(self, number: int) -> Session | None:
        return self.sessions[number % len(self.sessions)] if self.sessions else None

    def verdicts(self, keys: SessionKeys) -> dict[str, bool]:
        """Whether each session that has a token under a good key was ended, as keys say."""
        return {
            s.sid: keys.ended.covers(s.sid, s.subject, s.began)
            for s in self.sessions
            if s.generations & self.accepted()
        }


subjects = st.sampled_from(["alice", "alice", "alice", "bob"])
numbers = st.integers(0, 3)
"""Few, so that the same sessions are kept and ended again and again."""
ROTATE = ("rotate", 20)
end_all = st.tuples(st.just("end_all"), subjects, st.none() | numbers)
rotate = st.tuples(st.just("rotate"), st.sampled_from([0, 2, 5, 20, 20]))
steps = st.one_of(
    st.tuples(st.just("begin"), subjects, st.sampled_from([0, 0, 0, 1, 2, 5])),
    st.tuples(st.just("refresh"), numbers),
    st.tuples(st.just("end"), numbers),
    end_all,
    end_all,
    end_all,
    rotate,
    rotate,
    st.tuples(st.just("wait"), st.integers(1, 10)),
    st.tuples(st.just("reset")),
)


@settings(max_examples=300)
@given(st.lists(steps, max_size=40))
def test_whatever_happens_the_sessions_that_a_model_has_ended_are_ended_here_and_no_others(
    done: list[tuple[Any, ...]],
) -> None:
    history = History()

    for name, *arguments in done:
        getattr(history, name)(*arguments)

        should_be = {s.sid: s.is_ended for s in history.sessions}
        for sid, is_ended in history.verdicts(history.keys).items():
            assert is_ended == should_be[sid]


@settings(max_examples=150)
@given(st.lists(steps, max_size=40))
@example([("begin", "alice", 0), *[("end_all", "alice", keep) for keep in (None, 0)], ROTATE])
@example(
    [
        ("begin", "alice", 0),
        *[("end_all", "alice", keep) for keep in (None, 0, 0)],
        ROTATE,
        ROTATE,
    ]
)
def test_the_fold_from_since_is_the_fold_of_all_at_every_event(
    done: list[tuple[Any, ...]],
) -> None:
    history = History()
    for name, *arguments in done:
        getattr(history, name)(*arguments)
    events: list[KeyEvent] = list(history.keys.collect_events())  # type: ignore[arg-type]

    whole = None
    for number, event in enumerate(events):
        whole = SessionKeys.fold([event], whole)
        part = SessionKeys.fold(events[event.since - 1 : number + 1])

        assert event.since == whole.since == part.since
        assert history.verdicts(part) == history.verdicts(whole)
        assert part.digest == whole.digest
        assert (part.generation, part.retiring) == (whole.generation, whole.retiring)
