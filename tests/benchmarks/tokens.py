"""Verifying and creating tokens, one by one and in batches, beside what others take for it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import keyturn
from keyturn import SetupKey, ask
from tests.benchmarks.measure import Figure, Turn, figure, take_turns
from tests.benchmarks.peers import FLOOR, Peer, all_peers

BATCH = 100
FASTER_THAN = {("verify", "PyJWT"): 7.0, ("create", "PyJWT"): 4.5}
SLOWER_THAN_FLOOR = {"verify": 2.0, "create": 2.0, f"verify, {BATCH} at once": 1.4}


def token_figures(service: keyturn.Service) -> Iterator[Figure]:
    """Yield each way to deal with tokens beside each peer: all times are of one token."""
    key = ask(service.manager, SetupKey())
    peers = all_peers(key.secret, key.key_id, service.node_id)
    token = service.create_token()
    batch = service.create_tokens(BATCH)
    verify_theirs = {peer.name: partial(peer.verify, peer.create()) for peer in peers}

    verify = partial(service.verify_token, token)
    for peer in peers:
        yield beside("verify", take_turns(verify, verify_theirs[peer.name]), peer)
    for peer in peers:
        yield beside("create", take_turns(service.create_token, peer.create), peer)
    verify_all = partial(service.verify_tokens, batch)
    for peer in (peers[0], peers[-1]):
        turns = take_turns(verify_all, verify_theirs[peer.name], calls=100, tokens=BATCH)
        yield beside(f"verify, {BATCH} at once", turns, peer)
    create_all = partial(service.create_tokens, BATCH)
    for peer in (peers[0], peers[-1]):
        turns = take_turns(create_all, peer.create, calls=100, tokens=BATCH)
        yield beside(f"create, {BATCH} at once", turns, peer)


def beside(what: str, turns: list[Turn], peer: Peer) -> Figure:
    """Return the figure beside a peer: how much faster, and beside the floor how much slower."""
    if peer.name == FLOOR:
        return figure(what, turns, peer.name, goal=SLOWER_THAN_FLOOR.get(what))
    goal = FASTER_THAN.get((what, peer.name))
    return figure(what, turns, peer.name, goal=goal, is_speedup=True)
