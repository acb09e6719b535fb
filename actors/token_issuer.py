"""Tokens under the current key: minted, checked, refreshed.

The actor and the service handle share one of these: the handle calls it in the caller's own
thread, without waiting for the actor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NoReturn

from keyturn.actors.lifecycle import Lifecycle
from keyturn.config.clock import Clock
from keyturn.config.logging import Logger
from keyturn.domain import tokens
from keyturn.domain.batches import check_batch, check_count
from keyturn.domain.claims import check_claims, check_expiry, check_subject
from keyturn.domain.errors import SessionManagerDestroyedError, TokenRefusedError
from keyturn.domain.tokens import KeySet, SessionToken
from keyturn.projections.current_key import CurrentKey


class TokenIssuer:
    """Mints and checks the tokens of one manager. Safe to use from any thread.

    `keys` is None for the current key, or the keys that a transaction sees.
    """

    def __init__(
        self,
        current_key: CurrentKey,
        lifecycle: Lifecycle,
        *,
        node_id: str,
        manager: str,
        expiry: float | None,
        max_lifetime: float | None,
        clock: Clock,
        logger: Logger,
    ) -> None:
        self._current_key = current_key
        self.lifecycle = lifecycle
        self._manager = manager
        self.node_id = node_id
        self._expiry = check_expiry(expiry)
        self._max_lifetime = check_expiry(max_lifetime)
        self._clock = clock
        self._logger = logger

    @property
    def keys_at_hand(self) -> KeySet | None:
        """The keys of this moment; None if the log must be read for them. Never waits."""
        snapshot = self._current_key.peek()
        return None if snapshot is None else snapshot.keys

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
        return tokens.mint(  # names would cost a fortieth of the whole
            signing or self._no_key(),
            self.node_id,
            self.node_id if subject is None else check_subject(subject),
            self._clock(),
            self._expiry if expiry is None else check_expiry(expiry),
            self._max_lifetime,
            None if claims is None else check_claims(claims),
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
            self._log_refusal(error)
            return False
        return True

    def create_many(
        self,
        count: int,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        keys: KeySet | None = None,
    ) -> list[SessionToken]:
        """Mint tokens: see `CreateTokens`."""
        self.lifecycle.require_running()
        count = check_count(count)
        signing = (keys or self._current_key.get().keys).signing
        mint = partial(
            tokens.mint,
            signing or self._no_key(),
            issuer=self.node_id,
            subject=self.node_id if subject is None else check_subject(subject),
            now=self._clock(),
            expiry=self._expiry if expiry is None else check_expiry(expiry),
            max_lifetime=self._max_lifetime,
            claims=check_claims(claims),
        )
        return [mint() for _ in range(count)]

    def verify_many(self, batch: Iterable[object], keys: KeySet | None = None) -> list[bool]:
        """Return of each whether it is a good token: see `VerifyTokens`."""
        self.lifecycle.require_running()
        found = check_batch(batch)
        keys, now = keys or self._current_key.get().keys, self._clock()
        verdicts = []
        for token in found:
            try:
                tokens.verify(token, keys, now, self._max_lifetime)
            except TokenRefusedError as error:
                self._log_refusal(error)
                verdicts.append(False)
            else:
                verdicts.append(True)
        return verdicts

    def refresh(
        self, token: object, expiry: float | None = None, keys: KeySet | None = None
    ) -> SessionToken:
        """Exchange a good token for a new one: see `RefreshToken`."""
        self.lifecycle.require_running()
        expiry = self._expiry if expiry is None else check_expiry(expiry)
        # One snapshot for both: or else a reset between them would turn an old token into one
        # under the new key.
        keys = keys or self._current_key.get().keys
        now = self._clock()
        try:
            claims = tokens.verify(token, keys, now, self._max_lifetime)
        except TokenRefusedError as error:
            self._log_refusal(error)
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

    def _no_key(self) -> NoReturn:
        raise SessionManagerDestroyedError(
            f"the keys of manager {self._manager!r} were destroyed: open it anew for others"
        )

    def _log_refusal(self, error: TokenRefusedError) -> None:
        self._logger.debug(
            "token refused",
            manager=self._manager,
            reason=error.reason.value,
            kid=error.key_id,
        )
