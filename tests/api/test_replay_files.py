"""Histories in files: saved, loaded, and compared with a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from keyturn import CreateToken, ResetKey
from keyturn.domain import chain
from keyturn.domain.errors import ExportError, SessionManagerDestroyedError
from keyturn.domain.key_ring import KeyRingLike
from keyturn.testing import (
    Destroyed,
    Generated,
    Replay,
    Reset,
    Rotated,
    SessionEnded,
    SessionsEnded,
)


@pytest.fixture
def replay() -> Iterator[Replay]:
    with Replay() as replay:
        yield replay


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The history of two managers."""
    path = tmp_path / "golden.jsonl"
    with Replay() as replay:
        replay.given(
            Generated(age=900, initiator="ops"),
            Generated(manager="agents", age=800),
            Rotated(overlap=600, age=700),
            SessionEnded(sid="a" * 22, subject="alice", age=650),
            Reset(age=600, reason="theft"),
            Rotated(overlap=500, age=550),
            SessionsEnded(manager="agents", subject="bob", age=500),
        ).save(path)
    return path


# --- save and load -----------------------------------------------------------------------------


def test_what_was_saved_is_loaded_as_it_was(saved: Path, replay: Replay) -> None:
    replay.load(saved)

    service = replay.service
    changes = [(c.kind, c.generation, c.reason) for c in service.history()]
    assert changes == [
        ("generated", 1, None),
        ("rotated", 2, None),
        ("session ended", 2, None),
        ("reset", 3, "theft"),
        ("rotated", 4, None),
    ]
    assert [c.kind for c in service.named("agents").history()] == ["generated", "sessions ended"]
    assert service.audit().findings == ()


def test_keys_of_a_loaded_history_are_good_for_as_long_as_their_overlap(
    saved: Path, replay: Replay
) -> None:
    replay.clock.advance(40)
    replay.load(saved)
    tokens = [replay.token(generation, expiry=None) for generation in (1, 2, 3, 4)]

    assert replay.service.verify_tokens(tokens) == [False, False, False, True]
    assert replay.service.inspect_token(tokens[0]).revoked_because == "theft"


def test_a_loaded_history_goes_on_in_each_manager(saved: Path, replay: Replay) -> None:
    replay.load(saved).given(Reset(manager="agents", generation=2))

    replay.when(ResetKey()).then(Reset(generation=5))
    replay.when(lambda s: s.named("agents").reset_key()).then(
        Reset(manager="agents", generation=3)
    )


def test_what_was_loaded_can_be_saved_again(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.jsonl"
    with Replay() as first:
        first.load(saved).save(again)

    with Replay() as second:
        assert [c.kind for c in second.load(again).service.history()][-1] == "rotated"


def test_one_manager_can_be_loaded_alone(saved: Path, replay: Replay) -> None:
    replay.load(saved, name="agents")

    assert [state.name for state in replay.service.managers()] == ["agents"]


def test_a_loaded_history_may_end_with_a_destroy(tmp_path: Path, replay: Replay) -> None:
    path = tmp_path / "destroyed.jsonl"
    with Replay() as earlier:
        earlier.given(Generated(), Reset(), Destroyed()).save(path)

    replay.load(path).when(CreateToken()).then(SessionManagerDestroyedError)


def test_a_long_history_is_signed_only_where_it_is_read(
    tmp_path: Path, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.jsonl"
    with Replay() as earlier:
        earlier.given(*[Reset(reason=f"{number}") for number in range(200)]).save(path)
    signed: list[int] = []
    sign = chain.sign

    def counted(key_ring: KeyRingLike, id_: UUID, position: int, digest: str) -> str:
        signed.append(position)
        return sign(key_ring, id_, position, digest)

    monkeypatch.setattr(chain, "sign", counted)

    replay.load(path)

    assert replay.service.verify_token(replay.service.create_token())
    assert len(signed) < 10
    assert replay.service.audit().findings == ()
    assert set(signed) >= set(range(1, 202))


def test_an_export_whose_last_signature_is_another_nodes_is_refused(
    saved: Path, tmp_path: Path, replay: Replay
) -> None:
    with Replay() as stranger:
        stranger.given(Generated()).save(tmp_path / "other.jsonl")
    lines = saved.read_bytes().splitlines(keepends=True)
    header = (tmp_path / "other.jsonl").read_bytes().splitlines(keepends=True)[0]
    saved.write_bytes(b"".join([header, *lines[1:]]))

    with pytest.raises(ExportError):
        replay.load(saved)


# --- snapshots ---------------------------------------------------------------------------------


def happen(replay: Replay, reason: str = "theft") -> None:
    token = replay.given(Generated(initiator="ops"), Generated(manager="t7")).token()
    replay.service.end_session(token)
    replay.service.reset_key(reason=reason)
    replay.service.named("t7").reset_key(initiator="bob")


def test_a_snapshot_is_written_on_request_and_fits_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "snapshots" / "theft.txt"
    with Replay() as first:
        first.update_snapshots = True
        happen(first)
        first.then_snapshot(path)

    with Replay() as second:
        happen(second)
        second.then_snapshot(path)

    assert path.read_text() == (
        "Generated(initiator='ops', reason=None, generation=1)\n"
        "Generated(manager='t7', initiator='somebody@somewhere', reason=None, generation=1)\n"
        "SessionEnded(reason=None, generation=1, sid='session 1', subject='the node')\n"
        "Reset(reason='theft', generation=2)\n"
        "Reset(manager='t7', initiator='bob', reason=None, generation=2)\n"
    )


def test_another_history_than_that_of_the_snapshot_fails(tmp_path: Path, replay: Replay) -> None:
    path = tmp_path / "theft.txt"
    with Replay() as first:
        first.update_snapshots = True
        happen(first)
        first.then_snapshot(path)
    happen(replay, reason="audit")

    with pytest.raises(AssertionError) as caught:
        replay.then_snapshot(path)

    assert "  - Reset(reason='theft', generation=2)" in str(caught.value)
    assert "  + Reset(reason='audit', generation=2)" in str(caught.value)


def test_a_snapshot_that_is_not_there_fails_and_says_how_to_make_it(
    tmp_path: Path, replay: Replay
) -> None:
    with pytest.raises(AssertionError, match="--keyturn-update"):
        replay.then_snapshot(tmp_path / "none.txt")

    assert not (tmp_path / "none.txt").exists()
