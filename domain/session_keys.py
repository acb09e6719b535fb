"""The aggregate: the session keys of one manager, one after the other, and their events.

Commands check and then trigger; appliers only assign, for they run again on every replay.
Each event says all that holds after it, and is signed: the newest event alone is enough to go
on from (`SessionKeys.resume`), so start-up does not grow with the log and needs no snapshots
that nobody signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID, uuid5

import msgspec
from eventsourcing.domain import Aggregate, TAggregate

from keyturn.domain import provenance
from keyturn.domain.claims import check_overlap
from keyturn.domain.errors import (
    OverlapLimitError,
    SessionManagerDestroyedError,
)
from keyturn.domain.key_ring import KeyRingLike, key_id_of, seal_key, unseal_key
from keyturn.domain.limits import MAX_INITIATOR, MAX_REASON, check_name, check_text

"""Seconds: a hundred years."""
MAX_RETIRING = 32
"""How many keys may be in their overlap at once: each event holds them all."""

_MANAGERS = UUID("6b1f8f3e-5d0c-5b0a-9f6e-4b65797475aa")


@dataclass(frozen=True)
class Origin:
    """Who makes a change, why, and when (an aware datetime)."""

    initiator: str
    reason: str | None
    at: datetime

    @classmethod
    def now(cls, initiator: str, reason: str | None = None) -> Self:
        return cls(initiator, reason, datetime.now(UTC))


class RetiringKey(msgspec.Struct, frozen=True):
    """A key that was rotated out, and is still good until its overlap ends."""

    generation: int
    key_id: str
    sealed_key: str
    good_until: datetime


class SessionKeys(Aggregate):
    """The session keys of one manager.

    `generation` and `key_id` are those of the newest key; `is_destroyed` says that it was the
    last one. `digest` and `signature` are those of the newest event.
    """

    TOPIC = "keyturn.SessionKeys"

    class Event(Aggregate.Event):
        """What every change records."""

        manager: str
        node_id: str
        previous_digest: str
        generation: int
        key_id: str
        initiator: str
        reason: str | None
        signature: str

        @property
        def kind(self) -> str:
            return KINDS[type(self).__name__]

        @property
        def digest(self) -> str:
            """The SHA-256 of the event, in hex."""
            return provenance.digest(
                topic_of(self), self.originator_id, self.originator_version, fields_of(self)
            )

        @property
        def is_genuine(self) -> bool:
            """Whether the node that it names signed these facts."""
            return provenance.is_signed(
                self.node_id,
                self.originator_id,
                self.originator_version,
                self.digest,
                self.signature,
            )

        def apply(self, aggregate: SessionKeys) -> None:
            aggregate.manager = self.manager
            aggregate.node_id = self.node_id
            aggregate.generation = self.generation
            aggregate.key_id = self.key_id
            aggregate.sealed_key = getattr(self, "sealed_key", None)
            aggregate.retiring = getattr(self, "retiring", ())
            aggregate.digest = self.digest
            aggregate.signature = self.signature

    class KeyGenerated(Event, Aggregate.Created):
        """The first key of this manager, or the first after a destroy."""

        TOPIC = "keyturn.KeyGenerated"
        sealed_key: str

        def mutate(self, aggregate: TAggregate | None) -> TAggregate | None:
            if aggregate is None:
                return SessionKeys.resume(self)  # type: ignore[return-value]
            return Aggregate.Event.mutate(self, aggregate)

    Created = KeyGenerated

    class KeyReset(Event):
        """A new key; every earlier token is refused at once."""

        TOPIC = "keyturn.KeyReset"
        sealed_key: str

    class KeyRotated(Event):
        """A new key; tokens under `retiring` keys stay good until their overlap ends.

        `overlap` is in whole seconds, and starts with this event.
        """

        TOPIC = "keyturn.KeyRotated"
        sealed_key: str
        overlap: int
        retiring: tuple[RetiringKey, ...]

    class KeysDestroyed(Event):
        """The end: nothing verifies any more."""

        TOPIC = "keyturn.KeysDestroyed"

    def __init__(self) -> None:
        self.manager = ""
        self.node_id = ""
        self.generation = 0
        self.key_id = ""
        self.sealed_key: str | None = None
        self.retiring: tuple[RetiringKey, ...] = ()
        self.digest = provenance.NO_DIGEST
        self.signature = ""

    @classmethod
    def blank(cls, manager: str) -> Self:
        """Return the keys of a manager that has no event yet."""
        manager = check_name(manager)
        keys = cls.__new__(cls)
        keys.__base_init__(manager_id(manager), cls.INITIAL_VERSION - 1, datetime.now(UTC))
        keys.__init__()  # type: ignore[misc]
        keys.manager = manager
        return keys

    @classmethod
    def generate(cls, manager: str, secret: bytes, key_ring: KeyRingLike, by: Origin) -> Self:
        """Return the keys of a new manager, with their first key."""
        keys = cls.blank(manager)
        keys.regenerate(secret, key_ring, by)
        return keys

    @classmethod
    def resume(cls, event: SessionKeys.Event) -> Self:
        """Return the keys as they are after this event, which must be genuine."""
        keys = cls.__new__(cls)
        keys.__base_init__(event.originator_id, event.originator_version, event.timestamp)
        keys.__init__()  # type: ignore[misc]
        event.apply(keys)
        return keys

    def __copy__(self) -> Self:
        """Return the same keys, without what is pending."""
        keys = type(self).__new__(type(self))
        keys.__dict__.update(self.__dict__, _pending_events=[])
        return keys

    @property
    def is_destroyed(self) -> bool:
        """Whether there is no current key."""
        return self.sealed_key is None

    def regenerate(self, secret: bytes, key_ring: KeyRingLike, by: Origin) -> None:
        """Give a manager that has no current key a new one."""
        if not self.is_destroyed:
            raise ValueError("there is a current key: reset it instead")
        self._new_key(self.KeyGenerated, secret, key_ring, by, originator_topic=self.TOPIC)

    def reset(self, secret: bytes, key_ring: KeyRingLike, by: Origin) -> None:
        """Make `secret` the current key, and end every other one."""
        self._require_current()
        self._new_key(self.KeyReset, secret, key_ring, by)

    def rotate(self, secret: bytes, key_ring: KeyRingLike, by: Origin, *, overlap: int) -> None:
        """Make `secret` the current key; the one before stays good for `overlap` whole seconds.

        Raises:
            ExpiryError: the overlap is not a whole number of seconds from 0 to `MAX_OVERLAP`.
            OverlapLimitError: more than `MAX_RETIRING` keys would overlap.
        """
        self._require_current()
        good_until = by.at + timedelta(seconds=check_overlap(overlap))
        assert self.sealed_key is not None
        ending = RetiringKey(self.generation, self.key_id, self.sealed_key, good_until)
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
        self._new_key(self.KeyRotated, secret, key_ring, by, overlap=overlap, retiring=retiring)

    def destroy(self, key_ring: KeyRingLike, by: Origin) -> None:
        """End all keys."""
        self._require_current()
        self._trigger(
            self.KeysDestroyed, key_ring, by, generation=self.generation, key_id=self.key_id
        )

    def unseal(self, key_ring: KeyRingLike) -> bytes:
        """Return the secret of the current key."""
        self._require_current()
        assert self.sealed_key is not None
        return unseal_key(key_ring, self.sealed_key, self.manager, self.generation, self.key_id)

    def _require_current(self) -> None:
        if self.is_destroyed:
            raise SessionManagerDestroyedError(
                f"the keys of manager {self.manager!r} were destroyed: open it again for new ones"
            )

    def _new_key(
        self,
        event_class: type[SessionKeys.Event],
        secret: bytes,
        key_ring: KeyRingLike,
        by: Origin,
        **fields: object,
    ) -> None:
        generation, key_id = self.generation + 1, key_id_of(secret)
        sealed_key = seal_key(key_ring, secret, self.manager, generation, key_id)
        self._trigger(
            event_class,
            key_ring,
            by,
            generation=generation,
            key_id=key_id,
            sealed_key=sealed_key,
            **fields,
        )

    def _trigger(
        self,
        event_class: type[SessionKeys.Event],
        key_ring: KeyRingLike,
        by: Origin,
        **fields: Any,  # the fields of the event: each event class has its own
    ) -> None:
        fields |= {
            "manager": self.manager,
            "node_id": key_ring.node_id,
            "previous_digest": self.digest,
            "initiator": check_text(by.initiator, "initiator", MAX_INITIATOR),
            "reason": None if by.reason is None else check_text(by.reason, "reason", MAX_REASON),
            "timestamp": by.at.astimezone(UTC),
        }
        topic, position = TOPICS_BY_CLASS[event_class], self.version + 1
        digest = provenance.digest(topic, self.id, position, fields)
        signature = provenance.sign(key_ring, self.id, position, digest)
        self.trigger_event(event_class, signature=signature, **fields)


EVENT_CLASSES: dict[str, type[SessionKeys.Event]] = {
    event_class.TOPIC: event_class
    for event_class in (
        SessionKeys.KeyGenerated,
        SessionKeys.KeyReset,
        SessionKeys.KeyRotated,
        SessionKeys.KeysDestroyed,
    )
}
"""Our events by topic. No other topic is ever resolved."""

TOPICS_BY_CLASS = {event_class: topic for topic, event_class in EVENT_CLASSES.items()}

KINDS = {
    "KeyGenerated": "generated",
    "KeyReset": "reset",
    "KeyRotated": "rotated",
    "KeysDestroyed": "destroyed",
}


def topic_of(event: SessionKeys.Event) -> str:
    """Return the topic under which an event is stored."""
    return TOPICS_BY_CLASS[type(event)]


def fields_of(event: SessionKeys.Event) -> dict[str, object]:
    """Return the fields of an event, as its state at rest has them."""
    fields = dict(vars(event))
    del fields["originator_id"], fields["originator_version"]
    class_version = getattr(type(event), "class_version", 1)
    if class_version > 1:
        fields["class_version"] = class_version
    return fields


def manager_id(name: str) -> UUID:
    """Return the aggregate id of the manager of this name."""
    return uuid5(_MANAGERS, name)
