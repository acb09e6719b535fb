"""Verifiers and resetters in processes of their own: nothing stale, nothing lost [G1, G2]."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import keyturn
from keyturn import SessionKeys
from keyturn.domain.chain import NO_DIGEST

from . import many_processes
from .many_processes import Outcome

Crowd = tuple[Outcome, list[SessionKeys.Event], bool]
"""What the processes saw, the history of it, and whether the audit holds."""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each kind of log that processes can share, strict, so that nothing stale is at once."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "postgres":
            patch.setenv("KEYTURN_STORE", request.getfixturevalue("postgres").url())
            patch.setenv("KEYTURN_FRESHNESS", "strict")
        yield


@pytest.fixture(
    scope="module",
    params=[1.0, pytest.param(60.0, marks=pytest.mark.soak)],
    ids=["for 1 s", "for a minute"],
)
def crowd(
    store: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Crowd:
    """What eight processes that verified and two that reset saw, the history, and the audit."""
    folder = tmp_path_factory.mktemp("crowd") / "data"
    outcome = many_processes.run(folder, verifiers=8, resetters=2, seconds=request.param)
    with keyturn.open(path=folder, password=None) as service:
        return outcome, list(service.log.key_events("default")), service.audit().holds


def test_g2_eight_processes_that_verify_while_two_reset_accept_nothing_stale(
    crowd: Crowd,
) -> None:
    outcome, _, _ = crowd

    assert (outcome.errors, outcome.stale) == ([], [])
    assert outcome.refused > 0
    assert outcome.accepted > 0


def test_g1_while_eight_processes_verify_every_acknowledged_reset_is_recorded_once(
    crowd: Crowd,
) -> None:
    outcome, events, _ = crowd

    recorded = [event.reason for event in events]

    assert recorded[0] is None
    assert sorted(map(str, recorded[1:])) == sorted(outcome.reasons)


def test_g5_while_eight_processes_verify_the_history_neither_forks_nor_has_a_gap(
    crowd: Crowd,
) -> None:
    _, events, holds = crowd

    digests = [NO_DIGEST, *(event.digest for event in events)]

    assert [event.originator_version for event in events] == list(range(1, len(events) + 1))
    assert [event.previous_digest for event in events] == digests[:-1]
    assert holds


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("resets", [100, pytest.param(10_000, marks=pytest.mark.soak)])
def test_g2_a_process_that_verifies_accepts_nothing_stale_while_another_one_resets(
    resets: int, tmp_path: Path
) -> None:
    outcome = many_processes.run(tmp_path / "data", verifiers=1, resetters=1, resets=resets)

    print(outcome.seconds, "s,", outcome.refused, "refused,", outcome.accepted, "accepted")
    assert (outcome.errors, outcome.stale) == ([], [])
    assert len(outcome.reasons) == resets
    assert outcome.refused >= resets
