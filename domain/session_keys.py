"""The aggregate: the session keys of one manager, one after the other.

A command checks and then triggers an event. The state is the fold of the events from `since`
of the newest one on, by the events' own appliers: `SessionKeys.before` and `KeyEvent.mutate`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Self
from uuid import UUID, uuid5

from eventsourcing.domain import Aggregate

from keyturn.domain import chain, key_events
from keyturn.domain.claims import check_overlap
from keyturn.domain.ended_sessions import EndedSessions
from keyturn.domain.errors import OverlapLimitError, SessionManagerDestroyedError
from keyturn.domain.key_events import Abandoned, KeyEvent, RetiringKey
from keyturn.domain.key_ring import KeyRingLike, key_id_of, seal_key, unseal_key
from keyturn.domain.limits import MAX_INITIATOR, MAX_REASON, check_name, check_text
from keyturn.domain.secret import Secret

MAX_RETIRING = 32
"""How many keys may be in their overlap at once: each event of a rotation holds them all."""

_MANAGERS = UUID("6b1f8f3e-5d0c-5b0a-9f6e-4b65797475aa")


@dataclass(frozen=True)
class Origin:
    """Who makes a change, why, and when (an aware datetime).

    `recorded_by` is the operating system's user@host; None: not known.

    Raises:
        AuditTextError: initiator or reason cannot be recorded.
    """

    initiator: str
    reason: str | None
    at: datetime
    recorded_by: str | None = None

    def __post_init__(self) -> None:
        check_text(self.initiator, "initiator", MAX_INITIATOR)
        if self.reason is not None:
            check_text(self.reason, "reason", MAX_REASON)

    @classmethod
    def now(cls, initiator: str, reason: str | None = None) -> Self:
        return cls(initiator, reason, datetime.now(UTC))


class SessionKeys(Aggregate):
    """The session keys of one manager.

    `generation` and `key_id` are those of the newest key; without a `sealed_key` it was the
    last one. `retiring` are the keys in overlap, `ended` the sessions that were ended.
    `digest` and `signature` are those of the newest event.
    """

    TOPIC = "keyturn.SessionKeys"

    Event = KeyEvent
    KeyGenerated = key_events.KeyGenerated
    Created = key_events.KeyGenerated
    KeyReset = key_events.KeyReset
    KeyRotated = key_events.KeyRotated
    KeysDestroyed = key_events.KeysDestroyed
    SessionEnded = key_events.SessionEnded
    SubjectSessionsEnded = key_events.SubjectSessionsEnded

    def __init__(self) -> None:
        self.manager = ""
        self.node_id = ""
        self.generation = 0
        self.key_id = ""
        self.sealed_key: str | None = None
        self.retiring: tuple[RetiringKey, ...] = ()
        self.ended = EndedSessions()
        self.key_position = 0
        self.key_made_at: datetime | None = None
        self.is_purged = False
        self.digest = chain.NO_DIGEST
        self.signature = ""

    # --- where the fold begins ---

    @classmethod
    def blank(cls, manager: str) -> Self:
        """Return the keys of a manager that has no event yet."""
        manager = check_name(manager)
        keys = cls._new(manager_id(manager), cls.INITIAL_VERSION - 1, datetime.now(UTC))
        keys.manager = manager
        return keys

    @classmethod
    def before(cls, event: KeyEvent) -> Self:
        """Return what is known before the first event of a fold, to apply it to."""
        keys = cls._new(event.originator_id, event.originator_version - 1, event.timestamp)
        keys.digest = event.previous_digest
        return keys

    @classmethod
    def fold(cls, events: Iterable[KeyEvent], keys: Self | None = None) -> Self:
        """Return the state after some events.

        Args:
            events: each follows the one before it.
            keys: the state that the first one follows; it is changed. None: there is none.

        Raises:
            ValueError: there are neither events nor keys.
        """
        for event in events:
            keys = keys or cls.before(event)
            event.mutate(keys)
        if keys is None:
            raise ValueError("a fold needs an event, or keys to go on from")
        return keys

    @classmethod
    def _new(cls, id_: UUID, version: int, at: datetime) -> Self:
        keys = cls.__new__(cls)
        keys.__base_init__(id_, version, at)
        keys.__init__()  # type: ignore[misc]
        return keys

    def __copy__(self) -> Self:
        """Return the same keys, without what is pending."""
        keys = type(self).__new__(type(self))
        keys.__dict__.update(self.__dict__, _pending_events=[])
        return keys

    def draft(self) -> Self:
        """Return a copy for commands, whose ended sessions are its own."""
        keys = self.__copy__()
        keys.ended = self.ended.draft()
        return keys

    @property
    def link(self) -> chain.Link:
        """What the next event must follow."""
        return chain.Link(self.version, self.digest, self.generation)

    @property
    def is_destroyed(self) -> bool:
        """Whether there is no current key."""
        return self.sealed_key is None

    @property
    def since(self) -> int:
        """The position from which the log must be read for this state.

        That of the newest key, or of the oldest end of a session which still matters.
        """
        oldest = self.ended.oldest
        return self.key_position if oldest is None else min(oldest, self.key_position)

    # --- commands ---

    def regenerate(
        self,
        secret: Secret[bytes] | bytes,
        key_ring: KeyRingLike,
        by: Origin,
        *,
        abandoned: Abandoned | None = None,
    ) -> None:
        """Give a manager that has no current key a new one.

        Args:
            secret: the new key.
            key_ring: seals and signs.
            by: who, why and when.
            abandoned: what was seen before, when a rollback is accepted.

        Raises:
            ValueError: there is a current key.
        """
        if not self.is_destroyed:
            raise ValueError("there is a current key: reset it instead")
        own = {"abandoned": abandoned, "originator_topic": self.TOPIC}
        self._new_key(self.KeyGenerated, secret, key_ring, by, **own)

    def reset(
        self,
        secret: Secret[bytes] | bytes,
        key_ring: KeyRingLike,
        by: Origin,
        *,
        abandoned: Abandoned | None = None,
    ) -> None:
        """Make `secret` the current key, and end every other one.

        Args:
            secret: the new key.
            key_ring: seals and signs.
            by: who, why and when.
            abandoned: what was seen before, when a rollback is accepted.
        """
        self._require_current()
        self._new_key(self.KeyReset, secret, key_ring, by, abandoned=abandoned)

    def rotate(
        self, secret: Secret[bytes] | bytes, key_ring: KeyRingLike, by: Origin, *, overlap: int
    ) -> None:
        """Make `secret` the current key, and let the one before stay good for a while.

        Args:
            secret: the new key.
            key_ring: seals and signs.
            by: who, why and when.
            overlap: whole seconds that the one before stays good.

        Raises:
            SessionManagerDestroyedError: there is no current key.
            ExpiryError: the overlap is not a whole number of seconds from 0 to `MAX_OVERLAP`.
            OverlapLimitError: more than `MAX_RETIRING` keys would overlap.
        """
        sealed_key = self._require_current()
        good_until = by.at + timedelta(seconds=check_overlap(overlap))
        ending = RetiringKey(self.generation, self.key_id, sealed_key, good_until)
        retiring = tuple(k for k in (ending, *self.retiring) if k.good_until > by.at)
        if len(retiring) > MAX_RETIRING:
            until = min(key.good_until for key in retiring)
            raise OverlapLimitError(
                f"{len(retiring)} keys of manager {self.manager!r} would overlap, at most "
                f"{MAX_RETIRING} may: wait until {until:%Y-%m-%d %H:%M:%S} UTC, when one of them "
                "ends, or reset the key, which ends them all",
                limit=MAX_RETIRING,
                until=until,
            )
        oldest = min((key.generation for key in retiring), default=self.generation + 1)
        since = self.ended.remembering(oldest).oldest or self.version + 1
        own = {"since": since, "overlap": overlap, "retiring": retiring}
        self._new_key(self.KeyRotated, secret, key_ring, by, **own)

    def destroy(self, key_ring: KeyRingLike, by: Origin, *, purge: bool = False) -> None:
        """End all keys.

        Args:
            key_ring: signs.
            by: who, why and when.
            purge: the events before this one are to be removed.

        Raises:
            SessionManagerDestroyedError: they were ended before, and nothing is to be removed.
        """
        if not purge:
            self._require_current()
        self._trigger(self.KeysDestroyed, key_ring, by, purged=purge)

    def end_session(
        self, sid: str, key_ring: KeyRingLike, by: Origin, *, subject: str | None = None
    ) -> None:
        """End one session. Whether there is anything to end is for the caller to say.

        Args:
            sid: its id.
            key_ring: signs.
            by: who, why and when.
            subject: whose it is; None: that is not known.

        Raises:
            SessionManagerDestroyedError: there is no current key.
        """
        self._require_current()
        own = {"since": self.since, "sid": sid, "subject": subject}
        self._trigger(self.SessionEnded, key_ring, by, **own)

    def end_sessions(
        self, subject: str, key_ring: KeyRingLike, by: Origin, *, keep: str | None = None
    ) -> None:
        """End all sessions of a subject that have begun.

        Args:
            subject: whose.
            key_ring: signs.
            by: who, why and when.
            keep: the sid of the one that goes on; None: of none.

        Raises:
            SessionManagerDestroyedError: there is no current key.
        """
        self._require_current()
        own = {"since": self.since, "subject": subject, "keep": keep}
        self._trigger(self.SubjectSessionsEnded, key_ring, by, **own)

    def unseal(self, key_ring: KeyRingLike) -> bytes:
        """Return the secret of the current key."""
        sealed_key = self._require_current()
        return unseal_key(key_ring, sealed_key, self.manager, self.generation, self.key_id)

    def _require_current(self) -> str:
        """Return the sealed key, if there is a current key."""
        if self.sealed_key is None:
            raise SessionManagerDestroyedError(
                f"the keys of manager {self.manager!r} were destroyed: open it again for new "
                "ones, with create=True or with `keyturn init`"
            )
        return self.sealed_key

    def _new_key(
        self,
        event_class: type[KeyEvent],
        secret: Secret[bytes] | bytes,
        key_ring: KeyRingLike,
        by: Origin,
        **fields: Any,
    ) -> None:
        secret = Secret.of(secret)
        generation, key_id = self.generation + 1, key_id_of(secret.reveal())
        sealed_key = seal_key(key_ring, secret, self.manager, generation, key_id)
        fields |= {"generation": generation, "key_id": key_id, "sealed_key": sealed_key}
        self._trigger(event_class, key_ring, by, **fields)

    def _trigger(
        self,
        event_class: type[KeyEvent],
        key_ring: KeyRingLike,
        by: Origin,
        **own: Any,  # the fields of the event: each event class has its own
    ) -> None:
        position = self.version + 1
        fields = {
            "generation": self.generation,
            "key_id": self.key_id,
            "since": position,
            **own,
            "manager": self.manager,
            "node_id": key_ring.node_id,
            "previous_digest": self.digest,
            "initiator": by.initiator,
            "recorded_by": by.recorded_by,
            "reason": by.reason,
            "timestamp": by.at.astimezone(UTC),
        }
        state = {**fields, "class_version": key_events.CLASS_VERSION}
        digest = chain.digest(event_class.TOPIC, self.id, position, state)
        signature = chain.sign(key_ring, self.id, position, digest)
        self.trigger_event(event_class, signature=signature, **fields)


EVENT_CLASSES: dict[str, type[KeyEvent]] = {
    event_class.TOPIC: event_class
    for event_class in (
        SessionKeys.KeyGenerated,
        SessionKeys.KeyReset,
        SessionKeys.KeyRotated,
        SessionKeys.KeysDestroyed,
        SessionKeys.SessionEnded,
        SessionKeys.SubjectSessionsEnded,
    )
}
"""Our events by topic. No other topic is ever resolved."""

KINDS = tuple(event_class.kind for event_class in EVENT_CLASSES.values())
"""The names of the kinds of change, for people."""


@lru_cache(maxsize=1024)  # who reads a long log asks for the same few again and again
def manager_id(name: str) -> UUID:
    """Return the aggregate id of the manager of this name."""
    return uuid5(_MANAGERS, name)
