"""Forensics: all that is known of a token, under whatever key it was ever signed."""

from __future__ import annotations

from datetime import datetime

from keyturn.actors.lifecycle import Lifecycle, manager_lifecycle
from keyturn.actors.messages import TokenReport
from keyturn.config.clock import Clock, steady_time
from keyturn.domain import tokens
from keyturn.domain.claims import Claims
from keyturn.domain.errors import LogDamagedError, Refusal, TokenRefusedError
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KeyRingLike, unseal_key
from keyturn.domain.session_keys import SessionKeys
from keyturn.domain.tokens import SessionKey, SigningKey
from keyturn.projections.current_key import CurrentKey
from keyturn.projections.history import KeySpan, RotationHistory, check_moment


class TokenInspector:
    """Reports on the tokens of one manager. Safe to use from any thread.

    It looks the key up in the history, and unseals kept keys for this alone.
    """

    def __init__(
        self,
        current_key: CurrentKey,
        lifecycle: Lifecycle,
        *,
        log: KeyLog,
        key_ring: KeyRingLike,
        manager: str,
        max_lifetime: float | None,
        clock: Clock,
    ) -> None:
        self._current_key = current_key
        self._lifecycle = lifecycle
        self._history = RotationHistory(log, manager)
        self._key_ring = key_ring
        self._manager = manager
        self._max_lifetime = max_lifetime
        self._clock = clock

    def inspect(self, token: object, at: datetime | None = None) -> TokenReport:
        """Return all that is known of a token: see `InspectToken`."""
        self._lifecycle.require_running()
        check_moment(at, "at")
        key_id = tokens.read_key_id(token)
        if key_id is None:
            return TokenReport(False, Refusal.MALFORMED)
        # First this: whatever ended a key that is not accepted is in the history by then.
        now = self._clock()
        is_accepted = self._is_accepted(key_id, now)
        span = self._history.span_of(key_id)
        if span is None:
            return TokenReport(False, Refusal.UNKNOWN_KEY, key_id=key_id)
        self._require_genuine(span)
        assert isinstance(token, str)
        try:
            rest = token.partition(".")[2]
            claims = tokens.open_with(self._unsealed(span.began_with), rest)
        except TokenRefusedError as error:
            return TokenReport(False, error.reason, key_id=key_id)
        if at is not None:
            refusal = self._refusal_then(claims, span, at)
        elif is_accepted:
            refusal = tokens.refusal_by_age(claims, now, self._max_lifetime)
        else:
            refusal = Refusal.REVOKED
        ended = None if is_accepted else span.ended_with
        return TokenReport(
            refusal is None,
            refusal,
            span.began_with.generation,
            key_id,
            claims,
            revoked_at=None if ended is None else span.ends_at,
            revoked_by=None if ended is None else ended.initiator,
            revoked_because=None if ended is None else ended.reason,
        )

    def _is_accepted(self, key_id: str, now: float) -> bool:
        """Whether a key is current or in overlap: by the keys of this moment."""
        return any(
            key.key_id == key_id and (good_until is None or now < good_until)
            for key, good_until in self._current_key.get().keys.accepted.values()
        )

    def _require_genuine(self, span: KeySpan) -> None:
        """Raise rather than tell what somebody wrote into the log."""
        for event in (span.began_with, span.ended_with):
            if event is not None and not (
                event.node_id == self._key_ring.node_id and event.is_genuine
            ):
                position = event.originator_version
                raise LogDamagedError(
                    f"the event at position {position}, which says when this token's key began "
                    "or ended, was altered: see `keyturn audit`",
                    position=position,
                )

    def _refusal_then(self, claims: Claims, span: KeySpan, at: datetime) -> Refusal | None:
        """Return why a genuine token was not good at a moment, None if it was: by the history."""
        if span.ends_at is not None and at >= span.ends_at:
            return Refusal.REVOKED
        if at < span.began_with.timestamp or at.timestamp() < claims["iat"]:
            return Refusal.NOT_ISSUED_YET
        return tokens.refusal_by_age(claims, at.timestamp(), self._max_lifetime)

    def _unsealed(self, event: SessionKeys.Event) -> SigningKey:
        sealed_key: str = event.sealed_key  # type: ignore[attr-defined]
        secret = unseal_key(
            self._key_ring, sealed_key, self._manager, event.generation, event.key_id
        )
        return SigningKey(SessionKey(event.generation, event.key_id, secret))


def inspector_of(
    log: KeyLog, key_ring: KeyRingLike, manager: str, *, max_lifetime: float | None
) -> TokenInspector:
    """Return an inspector for who runs no manager: it reads, and writes nothing."""
    return TokenInspector(
        CurrentKey(log, key_ring, manager),
        manager_lifecycle(manager),
        log=log,
        key_ring=key_ring,
        manager=manager,
        max_lifetime=max_lifetime,
        clock=steady_time,
    )
