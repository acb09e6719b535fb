"""Tokens of any generation there ever was."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import UNSET, UnsetType

from keyturn.domain import tokens
from keyturn.domain.claims import check_claims, check_expiry, check_subject
from keyturn.domain.key_events import KeysDestroyed, NewKeyEvent
from keyturn.domain.key_ring import unseal_key
from keyturn.domain.options import ManagerOptions
from keyturn.domain.tokens import SessionKey, SessionToken, SigningKey
from keyturn.testing.other_process import OtherProcess


def mint_past_token(
    other: OtherProcess,
    options: ManagerOptions,
    generation: int | None,
    age: float | None,
    expiry: float | None | UnsetType,
    subject: str | None,
    claims: dict[str, Any],
) -> SessionToken:
    """Mint a token of a generation of the manager under test: see `Replay.token`."""
    begun, ended_at = _find_generation(other, generation)
    now = other.clock()
    born = now - (age or 0.0)
    if age is None and ended_at is not None:
        born = min(born, ended_at.timestamp())
    secret = unseal_key(
        other.key_ring, begun.sealed_key, other.own, begun.generation, begun.key_id
    )
    node_id = other.key_ring.node_id
    return tokens.mint(
        SigningKey(SessionKey(begun.generation, begun.key_id, secret)),
        issuer=node_id,
        subject=node_id if subject is None else check_subject(subject),
        began=begun.originator_version,
        now=born,
        expiry=options.expiry if expiry is UNSET else check_expiry(expiry),
        max_lifetime=options.max_lifetime,
        claims=check_claims(claims),
    )


def _find_generation(
    other: OtherProcess, generation: int | None
) -> tuple[NewKeyEvent, datetime | None]:
    """Return the event that made a generation's key, and when the next one ended it."""
    ended_at = None
    for event in other.log.key_events(other.own, newest_first=True):
        if isinstance(event, NewKeyEvent) and generation in (None, event.generation):
            return event, ended_at
        if isinstance(event, NewKeyEvent | KeysDestroyed):
            ended_at = event.timestamp
    raise ValueError(f"there was no generation {generation} of manager {other.own!r}")
