"""Whose a token is, ending sessions, and what it costs to remember those that were ended."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import keyturn
from keyturn import SetupKey, ask
from tests.benchmarks.measure import Figure, compare, figure, take_turns
from tests.benchmarks.peers import all_peers

MANY = 10_000
SIDS = 1_000


def ended_figures(service: keyturn.Service, folder: Path) -> Iterator[Figure]:
    """Yield the figures of authenticating, of ending sessions and of remembering them."""
    yield from authenticating(service)
    yield from ending(service)
    for name, count in (("none-ended", 0), ("many-ended", MANY), ("too-many-ended", 10 * MANY)):
        make_ended(folder / name, count)
    yield verifying_beside_many(folder)
    yield opening(folder, "many-ended", f"open with {MANY:,} ended", goal=0.3)
    yield opening(folder, "too-many-ended", f"open with {10 * MANY:,} ended", goal=None)


def authenticating(service: keyturn.Service) -> Iterator[Figure]:
    """Authenticate, beside verifying the same token and beside decoding with PyJWT."""
    token = service.create_token(subject="alice")
    authenticate = partial(service.authenticate, token)
    yield compare(
        "authenticate", authenticate, partial(service.verify_token, token), "verify", goal=1.25
    )
    key = ask(service.manager, SetupKey())
    pyjwt = all_peers(key.secret, key.key_id, service.node_id)[0]
    turns = take_turns(authenticate, partial(pyjwt.verify, pyjwt.create()))
    yield figure("authenticate", turns, "PyJWT's decode", goal=6, is_speedup=True)


def ending(service: keyturn.Service) -> Iterator[Figure]:
    """End a session, beside a reset; and many at once, beside one after the other."""
    names = (f"session {number}" for number in itertools.count())
    service.reset_key()
    yield compare(
        "end_session, durable",
        lambda: service.end_session(sid=next(names)),
        service.reset_key,
        "reset",
        goal=1.2,
        calls=60,
    )
    both = take_turns(
        lambda: service.end_sessions(sids=[next(names) for _ in range(SIDS)]),
        lambda: [service.end_session(sid=next(names)) for _ in range(SIDS // 10)],
        calls=1,
        rounds=7,
        tokens=SIDS,
    )
    turns = [(ours, theirs / (SIDS // 10)) for ours, theirs in both]
    what = f"end_sessions of {SIDS:,} sids, each"
    yield figure(what, turns, "end_session", goal=5, is_speedup=True)
    service.reset_key()


def verifying_beside_many(folder: Path) -> Figure:
    """Verify while 10,000 ended sessions are remembered, beside none."""
    with (
        keyturn.open(path=folder / "many-ended", password=None) as many,
        keyturn.open(path=folder / "none-ended", password=None) as none,
    ):
        return compare(
            f"verify, {MANY:,} ended",
            verifying(many),
            verifying(none),
            "verify, none ended",
            goal=1.1,
        )


def verifying(service: keyturn.Service) -> Callable[[], bool]:
    """Return what verifies a token of the service."""
    return partial(service.verify_token, service.create_token(subject="alice"))


def opening(folder: Path, name: str, what: str, *, goal: float | None) -> Figure:
    """Open, read the ended sessions and close, beside the time that it may take."""
    turns = take_turns(
        lambda: keyturn.open(path=folder / name, password=None).close(),
        lambda: None,
        calls=1,
        rounds=5,
    )
    allowed = goal or 3.0
    return figure(
        what,
        [(ours, allowed) for ours, _ in turns],
        "at most" if goal else "3 s",
        goal=1 if goal else None,
    )


def make_ended(path: Path, count: int) -> None:
    """Make a data folder with so many ended sessions."""
    with keyturn.open(path=path, password=None) as service:
        for first in range(0, count, MANY):
            service.end_sessions(sids=[f"{number:022}" for number in range(first, first + MANY)])
