"""G2: A token from before a reset never becomes a good one, whoever refreshes it when.

The system that this one grew out of did that 2,920 times in 3,000.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import keyturn
from keyturn import Service
from keyturn.domain.errors import TokenRefusedError
from keyturn.domain.tokens import read_key_id
from tests.actors.ways import WAYS

RESETS = 150
REFRESHES = 500
"""By each thread, and by the other process."""

REFRESHER = """
import sys, keyturn
from keyturn.domain.errors import TokenRefusedError
from keyturn.domain.tokens import read_key_id
with keyturn.open(path=sys.argv[1], password=None) as service:
    print("ready", flush=True)
    sys.stdin.readline()
    refused = changed = kept = 0
    for _ in range(int(sys.argv[2])):
        token = service.create_token()
        for _ in range(4):
            try:
                refreshed = service.refresh_token(token)
            except TokenRefusedError:
                refused += 1
                break
            if read_key_id(refreshed) == read_key_id(token):
                kept += 1
            else:
                changed += 1
    print(refused, changed, kept, flush=True)
"""


def refresh_often(
    refresh: Callable[[str], str], create: Callable[[], str], tell: queue.Queue[str]
) -> None:
    """Refresh tokens one after the other, and tell what became of the key of each."""
    for _ in range(REFRESHES):
        token = create()
        for _ in range(4):
            try:
                refreshed = refresh(token)
            except TokenRefusedError:
                tell.put("refused")
                break
            except BaseException as error:
                tell.put(repr(error))
                break
            same_key = read_key_id(refreshed) == read_key_id(token)
            tell.put("kept its key" if same_key else "GOT A NEW KEY")


@pytest.mark.parametrize("way", sorted(WAYS))
def test_g2_a_reset_in_the_middle_of_a_refresh_revokes_what_the_refresh_returns(
    tmp_path: Path, way: str
) -> None:
    is_refreshing = False

    def clock() -> float:  # a refresh reads it between its start and its end
        if is_refreshing:
            elsewhere.reset_key()
        return 1_000_000.0

    with (
        keyturn.open(path=tmp_path, password=None) as elsewhere,
        keyturn.open(path=tmp_path, password=None, clock=clock) as service,
    ):
        manager = WAYS[way](service)
        token = manager.create_token()
        is_refreshing = True
        refreshed = manager.refresh_token(token)
        is_refreshing = False

        assert not service.verify_token(refreshed)


@pytest.mark.usefixtures("quick_switches")
def test_g2_no_refresh_in_any_thread_or_process_carries_a_token_over_a_reset(
    service: Service, tmp_path: Path
) -> None:
    told: queue.Queue[str] = queue.Queue()
    ref = service.manager
    by_message = (
        lambda token: keyturn.ask(ref, keyturn.RefreshToken(token)),
        lambda: keyturn.ask(ref, keyturn.CreateToken()),
    )
    by_handle = (service.refresh_token, service.create_token)
    threads = [
        threading.Thread(target=refresh_often, args=(*way, told))
        for way in (by_handle, by_message, by_handle)
    ]
    with subprocess.Popen(
        [sys.executable, "-c", REFRESHER, str(tmp_path / "data"), str(REFRESHES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()

        for thread in threads:
            thread.start()
        process.stdin.write("go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        for _ in range(RESETS):
            service.reset_key()
        for thread in threads:
            thread.join(60)
        output, _ = process.communicate(timeout=60)

    outcomes = [told.get_nowait() for _ in range(told.qsize())]
    refused, changed, kept = map(int, output.split())
    assert set(outcomes) <= {"refused", "kept its key"}
    assert changed == 0
    # or else nothing was tried:
    assert len(outcomes) + refused + kept > 4000
    assert outcomes.count("refused") > 0


@pytest.mark.usefixtures("quick_switches")
def test_g2_whatever_was_got_for_a_token_of_before_a_reset_is_refused_after_it(
    service: Service,
) -> None:
    rounds, threads = 80, 3
    together = threading.Barrier(threads + 1, timeout=30)
    presented = [""]
    got: queue.SimpleQueue[str] = queue.SimpleQueue()

    def refresh_while_it_is_reset() -> None:
        for _ in range(rounds):
            together.wait()
            for _ in range(50):
                try:
                    got.put(service.refresh_token(presented[0]))
                except TokenRefusedError:
                    break
            together.wait()

    for _ in range(threads):
        threading.Thread(target=refresh_while_it_is_reset).start()
    alive = []
    for _ in range(rounds):
        presented[0] = service.create_token()
        together.wait()
        service.reset_key()
        together.wait()
        tokens = [got.get() for _ in range(got.qsize())]
        alive += [token for token in tokens if service.verify_token(token)]

    assert alive == []
