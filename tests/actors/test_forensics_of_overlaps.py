"""After a rotation a token is good until its overlap ends, or somebody cuts that short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keyturn import KeyRing, Refusal
from tests.actors.past import HOUR, INSTANT, Past


@pytest.fixture
def past(tmp_path: Path, key_ring: KeyRing) -> Iterator[Past]:
    past = Past(tmp_path / "data", key_ring, expiry=None)
    with past.service:
        yield past


@pytest.mark.parametrize(
    ("at", "refusal"),
    [
        (HOUR, None),
        (HOUR + 60 - INSTANT, None),
        (HOUR + 60, Refusal.REVOKED),
    ],
)
def test_after_a_rotation_an_old_token_is_good_until_the_overlap_ends(
    past: Past, at: float, refusal: Refusal | None
) -> None:
    token = past.token(0)
    past.rotate(HOUR, overlap=60)
    past.now = at

    now, then = past.service.inspect_token(token), past.inspect(token, at)

    assert (now.refusal, then.refusal) == (refusal, refusal)
    assert past.service.verify_token(token) is (refusal is None)


def test_an_overlap_that_ended_was_begun_by_whoever_rotated(past: Past) -> None:
    token = past.token(0)
    past.rotate(HOUR, overlap=60, initiator="carol")
    past.now = 2 * HOUR

    report = past.service.inspect_token(token)

    assert (report.revoked_at, report.revoked_by, report.revoked_because) == (
        past.moment(HOUR + 60),
        "carol",
        "routine",
    )


def test_a_token_in_overlap_was_revoked_by_nobody(past: Past) -> None:
    token = past.token(0)
    past.rotate(HOUR, overlap=60)
    past.now = HOUR + 30

    report = past.service.inspect_token(token)

    assert (report.valid, report.revoked_at, report.revoked_by) == (True, None, None)


@pytest.mark.parametrize("command", ["reset", "destroy"])
def test_a_reset_and_a_destroy_cut_an_overlap_short(past: Past, command: str) -> None:
    token = past.token(0)
    past.rotate(HOUR, overlap=60)
    getattr(past, command)(HOUR + 30, "mallory")
    past.now = HOUR + 31

    reports = [past.inspect(token, at) for at in (HOUR + 30 - INSTANT, HOUR + 30)]

    assert [report.refusal for report in reports] == [None, Refusal.REVOKED]
    assert {(report.revoked_at, report.revoked_by) for report in reports} == {
        (past.moment(HOUR + 30), "mallory")
    }


def test_a_reset_after_the_overlap_did_not_end_it(past: Past) -> None:
    token = past.token(0)
    past.rotate(HOUR, overlap=60)
    past.reset(2 * HOUR)

    report = past.inspect(token, HOUR)

    assert (report.revoked_at, report.revoked_by) == (past.moment(HOUR + 60), "carol")


@pytest.mark.parametrize("second", [0, 5, 600])
def test_another_rotation_leaves_an_overlap_as_it_was(past: Past, second: int) -> None:
    token = past.token(0)
    past.rotate(HOUR, overlap=60)
    past.rotate(HOUR + 30, overlap=second)
    past.now = HOUR + 59

    now = past.service.inspect_token(token)
    then = [past.inspect(token, at).refusal for at in (HOUR + 59, HOUR + 60)]

    assert (now.refusal, then) == (None, [None, Refusal.REVOKED])


def test_a_rotation_without_overlap_ends_the_key_at_once(past: Past) -> None:
    token = past.token(0)
    past.rotate(HOUR, overlap=0)

    refusals = [past.inspect(token, at).refusal for at in (HOUR - INSTANT, HOUR)]

    assert refusals == [None, Refusal.REVOKED]


@pytest.mark.parametrize("after", [0, 1, 30, 59, 60, 61, 89, 90, 91, 3600])
def test_now_and_as_of_now_are_the_same(past: Past, after: float) -> None:
    tokens = [past.token(0), past.token(0, expiry=HOUR + 80)]
    past.rotate(HOUR, overlap=60)
    past.rotate(HOUR, overlap=90)
    tokens += [past.token(HOUR), past.token(HOUR, expiry=1)]
    past.now = HOUR + after

    now = [past.service.inspect_token(token) for token in tokens]

    assert now == [past.inspect(token, past.now) for token in tokens]
