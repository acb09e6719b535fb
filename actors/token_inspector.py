"""Forensics: all that is known of a token, under whatever key it was ever signed."""

from __future__ import annotations

from datetime import datetime

from keyturn.actors.lifecycle import Lifecycle
from keyturn.actors.replies import TokenReport
from keyturn.config.clock import Clock
from keyturn.domain import tokens
from keyturn.domain.claims import Claims
from keyturn.domain.errors import LogDamagedError, Refusal, TokenRefusedError
from keyturn.domain.head import Head
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KeyRingLike, unseal_key
from keyturn.domain.options import ManagerOptions
from keyturn.domain.tokens import SessionKey, SigningKey
from keyturn.projections.head_reader import HeadReader
from keyturn.projections.history import check_moment
from keyturn.projections.key_lifetimes import NEWEST, KeyLifetimes, KeySpan


class TokenInspector:
    """Reports on the tokens of one manager. Safe to use from any thread.

    It looks the key up in the history, and unseals kept keys for this alone. What it reads for
    a token that nobody signed is bounded: see `KeyLifetimes.find`.
    """

    def __init__(
        self,
        reader: HeadReader,
        lifecycle: Lifecycle,
        options: ManagerOptions,
        log: KeyLog,
        key_ring: KeyRingLike,
        clock: Clock,
    ) -> None:
        self._head = reader
        self._lifecycle = lifecycle
        self._lifetimes = KeyLifetimes(log, options.name)
        self._key_ring = key_ring
        self._manager = options.name
        self._max_lifetime = options.max_lifetime
        self._clock = clock

    def inspect(self, token: object, at: datetime | None = None) -> TokenReport:
        """Return all that is known of a token: see `InspectToken`."""
        self._lifecycle.require_running()
        check_moment(at, "at")
        key_id = tokens.read_key_id(token)
        if key_id is None:
            return TokenReport(False, Refusal.MALFORMED)
        assert isinstance(token, str)
        # First this: whatever ended a key that is not accepted is in the history by then.
        now, head = self._clock(), self._head.get()
        made = self._find(head, key_id, token)
        if made is None:
            return TokenReport(False, Refusal.UNKNOWN_KEY, key_id=key_id)
        self._require_genuine(made)
        try:
            claims = tokens.open_with(self._unsealed(made), token.partition(".")[2])
        except TokenRefusedError as error:
            return TokenReport(False, error.reason, key_id=key_id)
        is_accepted = _is_accepted(head, key_id, now)
        span = self._lifetimes.span_of(made)
        is_ended = _is_ended(head, claims)
        session_end = self._session_end(head, claims, span, is_accepted, is_ended)
        if at is not None:
            refusal = self._refusal_then(claims, span, session_end, at)
        elif session_end is not None or (is_accepted and is_ended):
            refusal = Refusal.SESSION_ENDED
        elif is_accepted:
            refusal = tokens.refusal_by_age(claims, now, self._max_lifetime)
        else:
            refusal = Refusal.REVOKED
        key_end = None if is_accepted else span.ended_with
        ended_with = session_end or key_end
        self._require_genuine(ended_with)
        ended_at = None if key_end is None else span.ends_at
        return TokenReport(
            refusal is None,
            refusal,
            made.generation,
            key_id,
            claims,
            revoked_at=ended_at if session_end is None else session_end.timestamp,
            revoked_by=None if ended_with is None else ended_with.initiator,
            revoked_because=None if ended_with is None else ended_with.reason,
        )

    def _find(self, head: Head, key_id: str, token: str) -> KeyEvent | None:
        """Return the event that made the key of a token."""
        known = {key.key_id: key.generation for key in head.keys.retiring}
        known[head.keys.key_id] = head.keys.generation
        if key_id in known:
            return self._lifetimes.made(known[key_id], key_id)
        return self._lifetimes.find(key_id, tokens.read_number(token, "iat") or None)

    def _session_end(
        self, head: Head, claims: Claims, span: KeySpan, is_accepted: bool, is_ended: bool
    ) -> KeyEvent | None:
        """Return the event that ended the session of a genuine token while its key was good."""
        if is_accepted and not is_ended:
            return None
        after = max(span.began_with.originator_version, tokens.began_at(claims, head.key_set))
        return self._lifetimes.end_of_session(
            claims["sid"],
            claims["sub"],
            after=after,
            until=None if is_accepted else span.ends_at,
            limit=None if is_accepted else NEWEST,  # of an accepted key it is there
        )

    def _require_genuine(self, event: KeyEvent | None) -> None:
        """Raise rather than tell what somebody wrote into the log."""
        if event is not None and not (
            event.node_id == self._key_ring.node_id and event.is_genuine
        ):
            position = event.originator_version
            raise LogDamagedError(
                f"the event at position {position}, which says when this token's key or session "
                "began or ended, was altered: see `keyturn audit`",
                position=position,
            )

    def _refusal_then(
        self, claims: Claims, span: KeySpan, session_end: KeyEvent | None, at: datetime
    ) -> Refusal | None:
        """Return why a genuine token was not good at a moment, None if it was: by the history."""
        if session_end is not None and at >= session_end.timestamp:
            return Refusal.SESSION_ENDED
        if span.ends_at is not None and at >= span.ends_at:
            return Refusal.REVOKED
        if at < span.began_with.timestamp or at.timestamp() < claims["iat"]:
            return Refusal.NOT_ISSUED_YET
        return tokens.refusal_by_age(claims, at.timestamp(), self._max_lifetime)

    def _unsealed(self, event: KeyEvent) -> SigningKey:
        sealed_key: str = event.sealed_key  # type: ignore[attr-defined]
        secret = unseal_key(
            self._key_ring, sealed_key, self._manager, event.generation, event.key_id
        )
        return SigningKey(SessionKey(event.generation, event.key_id, secret))


def _is_accepted(head: Head, key_id: str, now: float) -> bool:
    """Whether a key is current or in overlap: by the keys of this moment."""
    return any(
        key.key_id == key_id and (good_until is None or now < good_until)
        for key, good_until in head.key_set.accepted.values()
    )


def _is_ended(head: Head, claims: Claims) -> bool:
    """Whether a session was ended, as far as that still matters."""
    return head.keys.ended.covers(
        claims["sid"], claims["sub"], tokens.began_at(claims, head.key_set)
    )
