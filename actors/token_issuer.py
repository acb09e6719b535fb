"""Tokens under the current key: minted, checked, refreshed, inspected.

The actor and the service handle share one of these: the handle calls it in the caller's own
thread, without waiting for the actor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from keyturn.actors.lifecycle import Lifecycle
from keyturn.actors.messages import TokenReport
from keyturn.config.logging import Logger
from keyturn.domain import tokens
from keyturn.domain.clock import Clock
from keyturn.domain.errors import Refusal, SessionManagerDestroyedError, TokenRefusedError
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.session_keys import unseal_key
from keyturn.domain.tokens import KeySet, SessionKey, SessionToken, SigningKey
from keyturn.projections.current_key import CurrentKey
from keyturn.projections.rotation_history import RotationHistory


class TokenIssuer:
    """Mints and checks the tokens of one manager. Safe to use from any thread.

    `keys` is None for the current key, or the keys that a transaction sees.
    """

    def __init__(
        self,
        current_key: CurrentKey,
        lifecycle: Lifecycle,
        *,
        log: KeyLog,
        key_ring: KeyRingLike,
        manager: str,
        expiry: float | None,
        max_lifetime: float | None,
        clock: Clock,
        logger: Logger,
    ) -> None:
        self._current_key = current_key
        self.lifecycle = lifecycle
        self._log = log
        self._key_ring = key_ring
        self._manager = manager
        self.node_id = key_ring.node_id
        self._expiry = tokens.check_expiry(expiry)
        self._max_lifetime = tokens.check_expiry(max_lifetime)
        self._clock = clock
        self._logger = logger

    @property
    def is_fresh(self) -> bool:
        """Whether the keys are at hand, so that nothing here has to read the log."""
        return self._current_key.peek() is not None

    def create(
        self,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        keys: KeySet | None = None,
    ) -> SessionToken:
        """Mint a token: see `CreateToken`."""
        self.lifecycle.require_running()
        signing = (keys or self._current_key.get().keys).signing
        return tokens.mint(
            signing or self._no_key(),
            issuer=self.node_id,
            subject=self.node_id if subject is None else tokens.check_subject(subject),
            now=self._clock(),
            expiry=self._expiry if expiry is None else tokens.check_expiry(expiry),
            max_lifetime=self._max_lifetime,
            claims=None if claims is None else tokens.check_claims(claims),
        )

    def verify(self, token: object, keys: KeySet | None = None) -> bool:
        """Return whether it is a good token: see `VerifyToken`."""
        self.lifecycle.require_running()
        try:
            tokens.verify(
                token,
                keys or self._current_key.get().keys,
                self._clock(),
                self._max_lifetime,
            )
        except TokenRefusedError as error:
            self._log_refusal(token, error)
            return False
        return True

    def refresh(
        self, token: object, expiry: float | None = None, keys: KeySet | None = None
    ) -> SessionToken:
        """Exchange a good token for a new one: see `RefreshToken`."""
        self.lifecycle.require_running()
        expiry = self._expiry if expiry is None else tokens.check_expiry(expiry)
        # One snapshot for both: or else a reset between them would turn an old token into one
        # under the new key.
        keys = keys or self._current_key.get().keys
        now = self._clock()
        try:
            claims = tokens.verify(token, keys, now, self._max_lifetime)
        except TokenRefusedError as error:
            self._log_refusal(token, error)
            raise
        session = tokens.session_of(claims)
        return tokens.mint(
            keys.signing or self._no_key(),
            issuer=self.node_id,
            subject=session.subject,
            now=now,
            expiry=expiry,
            max_lifetime=self._max_lifetime,
            claims=session.claims,
            session=session,
        )

    def inspect(self, token: object) -> TokenReport:
        """Return all that is known of a token: see `InspectToken`."""
        self.lifecycle.require_running()
        key_id = tokens.read_key_id(token)
        keys = self._current_key.get().keys
        for key, _ in keys.accepted.values():
            if key.key_id == key_id:
                return self._report(token, keys, key)
        if key_id is None:
            return TokenReport(False, Refusal.MALFORMED)
        return self._report_of_past_key(token, key_id)

    def _report(self, token: object, keys: KeySet, key: SigningKey) -> TokenReport:
        try:
            claims = tokens.verify(token, keys, self._clock(), self._max_lifetime)
        except TokenRefusedError as error:
            return self._refused_report(token, key, error.reason)
        return TokenReport(True, None, key.generation, key.key_id, claims)

    def _refused_report(self, token: object, key: SigningKey, reason: Refusal) -> TokenReport:
        """Report a token that names this key; its claims only if the key signed it."""
        assert isinstance(token, str)
        try:
            claims = tokens.open_with(key, token)
        except TokenRefusedError as error:
            return TokenReport(False, error.reason, key_id=key.key_id)
        return TokenReport(False, reason, key.generation, key.key_id, claims)

    def _report_of_past_key(self, token: object, key_id: str) -> TokenReport:
        found = RotationHistory(self._log, self._manager).of_key(key_id)
        if found is None:
            return TokenReport(False, Refusal.UNKNOWN_KEY, key_id=key_id)
        event, end = found
        sealed_key: str = event.sealed_key  # type: ignore[attr-defined]
        secret = unseal_key(
            self._key_ring, sealed_key, self._manager, event.generation, event.key_id
        )
        key = SigningKey(SessionKey(event.generation, event.key_id, secret))
        report = self._refused_report(token, key, Refusal.REVOKED)
        if end is None or report.claims is None:
            return report
        return TokenReport(
            False,
            Refusal.REVOKED,
            report.generation,
            report.key_id,
            report.claims,
            revoked_at=end.timestamp,
            revoked_by=end.initiator,
            revoked_because=end.reason,
        )

    def _no_key(self) -> NoReturn:
        raise SessionManagerDestroyedError(
            f"the keys of manager {self._manager!r} were destroyed: open it anew for others"
        )

    def _log_refusal(self, token: object, error: TokenRefusedError) -> None:
        self._logger.debug(
            "token refused",
            manager=self._manager,
            reason=error.reason.value,
            kid=tokens.read_key_id(token),
        )
