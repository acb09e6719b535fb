"""Tokens at the current head: minted, checked, refreshed.

The actor and the service handle share one of these: the handle calls it in the caller's own
thread, without waiting for the actor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NoReturn

from keyturn.actors.activity import Activity
from keyturn.actors.lifecycle import Lifecycle
from keyturn.actors.replies import Answer, Authenticated
from keyturn.config.clock import Clock
from keyturn.config.logging import Logger
from keyturn.domain import tokens
from keyturn.domain.batches import check_batch, check_count
from keyturn.domain.claims import Claims, check_claims, check_expiry, check_subject
from keyturn.domain.errors import (
    Refusal,
    SessionManagerDestroyedError,
    TokenRefusedError,
)
from keyturn.domain.limits import check_seconds
from keyturn.domain.options import ManagerOptions
from keyturn.domain.tokens import KeySet, Session, SessionToken
from keyturn.projections.head_reader import HeadReader


class TokenIssuer:
    """Mints and checks the tokens of one manager. Safe to use from any thread.

    `keys` is None for those of the current head, or those that a transaction sees.
    """

    def __init__(
        self,
        reader: HeadReader,
        lifecycle: Lifecycle,
        options: ManagerOptions,
        node_id: str,
        clock: Clock,
        logger: Logger,
        activity: Activity,
    ) -> None:
        self._reader = reader
        self._require_running = lifecycle.require_running
        self._name = options.name
        self._expiry = options.expiry
        self._max_lifetime = options.max_lifetime
        self._node_id = node_id
        self._clock = clock
        self._logger = logger
        self._activity = activity

    @property
    def current_keys(self) -> KeySet | None:
        """The keys of this moment; None if the log must be read for them. Never waits."""
        head = self._reader.peek()
        return None if head is None else head.key_set

    def create(
        self,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        keys: KeySet | None = None,
    ) -> SessionToken:
        """Mint a token: see `CreateToken`."""
        self._require_running()
        keys = keys or self._reader.get().key_set
        token = tokens.mint(  # names would cost a fortieth of the whole
            keys.signing or self._no_key(),
            self._node_id,
            self._node_id if subject is None else check_subject(subject),
            keys.position,
            self._clock(),
            self._expiry if expiry is None else check_expiry(expiry),
            self._max_lifetime,
            None if claims is None else check_claims(claims),
        )
        self._activity.created += 1
        return token

    def create_many(
        self,
        count: int,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        keys: KeySet | None = None,
    ) -> list[SessionToken]:
        """Mint tokens: see `CreateTokens`."""
        self._require_running()
        keys = keys or self._reader.get().key_set
        mint = partial(
            tokens.mint,
            keys.signing or self._no_key(),
            issuer=self._node_id,
            subject=self._node_id if subject is None else check_subject(subject),
            began=keys.position,
            now=self._clock(),
            expiry=self._expiry if expiry is None else check_expiry(expiry),
            max_lifetime=self._max_lifetime,
            claims=check_claims(claims),
        )
        count = check_count(count)
        minted = [mint() for _ in range(count)]
        self._activity.created += count
        return minted

    def verify(self, token: object, keys: KeySet | None = None) -> bool:
        """Return whether it is a good token: see `VerifyToken`."""
        self._require_running()
        try:
            self._check(token, keys)
        except TokenRefusedError:
            return False
        self._activity.accepted += 1
        return True

    def verify_many(self, batch: Iterable[object], keys: KeySet | None = None) -> list[bool]:
        """Return of each whether it is a good token: see `VerifyTokens`."""
        self._require_running()
        found = check_batch(batch)
        judged_by, now = keys or self._reader.get().key_set, self._clock()
        refusals = [self._refusal(token, judged_by, now) for token in found]
        if keys is None and any(map(partial(began_after, judged_by), found, refusals)):
            return self.verify_many(found, self._reader.read().key_set)
        accepted = refusals.count(None)
        self._activity.accepted += accepted
        return [refusal is None for refusal in refusals]

    def authenticate(
        self, token: object, max_age: float | None = None, keys: KeySet | None = None
    ) -> Authenticated:
        """Return whose token it is: see `Authenticate`."""
        self._require_running()
        if max_age is not None:
            check_seconds(max_age, "max_age")
        claims, judged_by, now = self._check(token, keys)
        key, _ = judged_by.accepted[str(token).partition(".")[0]]
        if max_age is not None and now >= claims["auth_time"] + max_age + 1:
            error = tokens.refused(Refusal.TOO_LONG_AGO, key.key_id)
            self._note_refusal(error)
            raise error
        self._activity.accepted += 1
        return Authenticated(claims, key.generation)

    def authenticate_many(
        self,
        batch: Iterable[object],
        max_age: float | None = None,
        keys: KeySet | None = None,
    ) -> list[Answer]:
        """Return of each whose token it is, or why it is not good: see `AuthenticateTokens`."""
        self._require_running()
        found = check_batch(batch)
        judged_by = keys or self._reader.get().key_set
        replies = [self._authenticated(token, max_age, judged_by) for token in found]
        refusals = [getattr(reply, "reason", None) for reply in replies]
        if keys is None and any(map(partial(began_after, judged_by), found, refusals)):
            return self.authenticate_many(found, max_age, self._reader.read().key_set)
        return replies

    def refresh(
        self,
        token: object,
        expiry: float | None = None,
        keys: KeySet | None = None,
    ) -> SessionToken:
        """Exchange a good token for a new one: see `RefreshToken`."""
        self._require_running()
        check_expiry(expiry)
        # One key set for both: or else a reset between them would turn an old token into one
        # under the new key.
        claims, keys, now = self._check(token, keys)
        session = tokens.session_of(claims)
        refreshed = tokens.mint(
            keys.signing or self._no_key(),
            issuer=self._node_id,
            subject=session.subject,
            began=session.began,
            now=now,
            expiry=session.expiry if expiry is None else expiry,
            max_lifetime=self._max_lifetime,
            claims=session.claims,
            session=session,
        )
        self._activity.refreshed += 1
        return refreshed

    def session_of(self, token: object, keys: KeySet | None = None) -> Session | None:
        """Return the session of a token under a key that is good, expired or not; else None."""
        keys = keys or self._reader.get().key_set
        try:
            return tokens.session_of(tokens.open_genuine(token, keys, self._clock()))
        except TokenRefusedError:
            return None

    def _refusal(self, token: object, keys: KeySet, now: float) -> Refusal | None:
        try:
            tokens.verify(token, keys, now, self._max_lifetime)
        except TokenRefusedError as error:
            self._note_refusal(error)
            return error.reason
        return None

    def _authenticated(self, token: object, max_age: float | None, keys: KeySet) -> Answer:
        try:
            return self.authenticate(token, max_age, keys)
        except TokenRefusedError as error:
            return error.with_traceback(None)  # which would keep the frames, and all in them

    def _check(self, token: object, keys: KeySet | None) -> tuple[Claims, KeySet, float]:
        """Return the claims of a good token, and the keys and the time that it was judged by."""
        # The keys before the time: a reset after that is for the next to notice.
        judged_by, now = keys or self._reader.get().key_set, self._clock()
        try:
            return tokens.verify(token, judged_by, now, self._max_lifetime), judged_by, now
        except TokenRefusedError as error:
            if keys is None and began_after(judged_by, token, error.reason):
                return self._check(token, self._reader.read().key_set)
            self._note_refusal(error)
            raise

    def _note_refusal(self, error: TokenRefusedError) -> None:
        self._activity.note_refusal(error.reason)
        self._logger.debug("token refused", reason=error.reason.value, kid=error.key_id)

    def _no_key(self) -> NoReturn:
        raise SessionManagerDestroyedError(
            f"the keys of manager {self._name!r} were destroyed: open it anew for others"
        )


def began_after(keys: KeySet, token: object, refusal: Refusal | None) -> bool:
    """Whether a session that seems ended began at a head which this process has not read yet."""
    return (
        refusal is Refusal.SESSION_ENDED
        and tokens.read_number(token, "keyturn_pos") > keys.position
    )
