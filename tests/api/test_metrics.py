"""The figures of a manager in one process: nothing is lost, and each thing counts once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import keyturn
from keyturn import Refusal, Service, TokenRefusedError
from keyturn.testing import ManualClock
from tests.api.awaiting import with_service


def test_each_thing_that_is_done_is_counted_once(service: Service) -> None:
    first, *_ = service.create_tokens(3)
    service.create_token()
    service.verify_token(first)
    service.authenticate(first)
    service.verify_tokens([first, "a.b.c"])
    service.refresh_token(first)
    service.end_session(token=first)
    service.end_sessions(subject="alice")
    service.verify_token(first)
    with pytest.raises(TokenRefusedError):
        service.refresh_token("a.b.c")
    service.rotate_key(60)
    service.reset_key()

    metrics = service.metrics()

    assert (metrics.created, metrics.accepted, metrics.refreshed) == (4, 3, 1)
    assert {reason: count for reason, count in metrics.refused.items() if count} == {
        Refusal.MALFORMED: 2,
        Refusal.SESSION_ENDED: 1,
    }
    assert (metrics.sessions_ended, metrics.rotations, metrics.resets) == (2, 1, 1)
    assert (metrics.position, metrics.ended_sessions, metrics.retries) == (5, 0, 0)


def test_a_session_that_began_too_long_ago_counts_as_refused_alone(tmp_path: Path) -> None:
    clock = ManualClock(1_700_000_000)
    with keyturn.open(path=tmp_path, password=None, clock=clock) as service:
        token = service.create_token()
        clock.advance(100)
        with pytest.raises(TokenRefusedError):
            service.authenticate(token, max_age=10)

        metrics = service.metrics()

    assert (metrics.accepted, metrics.refused[Refusal.TOO_LONG_AGO]) == (0, 1)


def test_no_thread_loses_a_count_while_others_look(service: Service) -> None:
    token = service.create_token()

    def use(_: int) -> None:
        for _ in range(2_000):
            service.verify_token(token)
            service.verify_token("a.b.c")
        service.metrics()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))

    metrics = service.metrics()
    assert (metrics.accepted, metrics.refused[Refusal.MALFORMED]) == (16_000, 16_000)


def test_what_another_process_did_shows_in_the_head_and_in_no_count(
    service: Service, tmp_path: Path
) -> None:
    with keyturn.open(path=tmp_path / "data", password=None) as other:
        other.end_sessions(sids=["a", "b"])
        other.reset_key()
        other.end_session(sid="c")
    service.create_token()

    metrics = service.metrics()

    assert (metrics.position, metrics.ended_sessions) == (5, 1)
    assert (metrics.resets, metrics.sessions_ended) == (0, 0)


def test_a_named_service_has_figures_of_its_own(service: Service) -> None:
    service.named("tenant-7").create_token()

    assert (service.metrics().created, service.named("tenant-7").metrics().created) == (0, 1)


def test_how_old_the_knowledge_of_a_log_may_be_is_known(store_url: str, tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path / "data", store=store_url, password=None) as service:
        service.create_token()

        assert 0 <= service.metrics().seconds_since_heard < 5


def test_the_same_figures_are_there_for_asyncio(tmp_path: Path) -> None:
    async def body(service: keyturn.AsyncService) -> None:
        token = await service.create_token()
        await service.end_session(token=token)
        await service.verify_token(token)

        metrics = service.metrics()

        assert (metrics.created, metrics.refused[Refusal.SESSION_ENDED]) == (1, 1)

    with_service(body, tmp_path)
