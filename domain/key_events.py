"""The events of session keys: what is recorded of each change, and what holds after it.

Appliers only assign, for they run again on every replay. An event of a key says all that holds
of the keys after it; what else holds is said by the events from its `since` on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import msgspec
from eventsourcing.domain import Aggregate, TAggregate

from keyturn.domain import chain
from keyturn.domain.ended_sessions import EndedSessions

if TYPE_CHECKING:
    from keyturn.domain.session_keys import SessionKeys

CLASS_VERSION = 2
"""Of every event: 1 lacked `since`, where each event was its own, and the fields below."""
NEW_IN_VERSION_2 = {"recorded_by": None, "abandoned": None, "purged": False}
"""The fields, each with what holds of the events that lack it."""


class RetiringKey(msgspec.Struct, frozen=True):
    """A key that was rotated out, and is still good until its overlap ends."""

    generation: int
    key_id: str
    sealed_key: str
    good_until: datetime


class Abandoned(msgspec.Struct, frozen=True):
    """The newest event of a history that was given up when a rollback was accepted."""

    position: int
    digest: str


class KeyEvent(Aggregate.Event):
    """What every change records.

    Attributes:
        since: the position from which the log must be read for the state after this event.
        recorded_by: user@host of the operating system; None: not known (schema 1).
        initiator: who did it, as somebody said.
    """

    TOPIC: ClassVar[str]
    class_version: ClassVar[int] = CLASS_VERSION
    kind: ClassVar[str]
    """The name for people."""
    makes_a_key: ClassVar[bool] = True
    """Whether it raises the generation by one."""

    manager: str
    node_id: str
    previous_digest: str
    generation: int
    key_id: str
    since: int
    initiator: str
    recorded_by: str | None
    reason: str | None
    signature: str

    @property
    def is_purge(self) -> bool:
        """Whether the events before it were removed."""
        return False

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the event as it is stored, in hex."""
        return chain.digest(
            type(self).TOPIC, self.originator_id, self.originator_version, fields_of(self)
        )

    @property
    def link(self) -> chain.Link:
        """What the next event must follow."""
        return chain.Link(self.originator_version, self.digest, self.generation)

    @property
    def is_genuine(self) -> bool:
        """Whether the node that it names signed these facts."""
        return chain.is_signed(
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
        aggregate.digest = self.digest
        aggregate.signature = self.signature
        self.apply_own(aggregate)

    def apply_own(self, keys: SessionKeys) -> None:
        """Assign what this kind of event changes."""


class NewKeyEvent(KeyEvent):
    """A new current key."""

    sealed_key: str

    def apply_own(self, keys: SessionKeys) -> None:
        keys.sealed_key = self.sealed_key
        keys.retiring = ()
        keys.key_position = self.originator_version
        keys.key_made_at = self.timestamp
        keys.ended = EndedSessions()
        keys.is_purged = False


class KeyGenerated(NewKeyEvent, Aggregate.Created):
    """The first key of this manager, or the first after a destroy.

    `abandoned` is as for a reset.
    """

    TOPIC = "keyturn.KeyGenerated"
    kind = "generated"
    abandoned: Abandoned | None

    def mutate(self, aggregate: TAggregate | None) -> TAggregate | None:
        if aggregate is None:
            from keyturn.domain.session_keys import SessionKeys  # which has this class in it

            aggregate = SessionKeys.before(self)  # type: ignore[assignment]
        return Aggregate.Event.mutate(self, aggregate)  # a manager may begin more than once


class KeyReset(NewKeyEvent):
    """A new key; every earlier token is refused at once.

    `abandoned` is what this node had seen of the history that it gave up when it accepted a
    rollback; None otherwise. A node whose anchor stands there follows without another reset.
    """

    TOPIC = "keyturn.KeyReset"
    kind = "reset"
    abandoned: Abandoned | None


class KeyRotated(NewKeyEvent):
    """A new key; tokens under `retiring` keys stay good until their overlap ends.

    `overlap` is in whole seconds, and starts with this event.
    """

    TOPIC = "keyturn.KeyRotated"
    kind = "rotated"
    overlap: int
    retiring: tuple[RetiringKey, ...]

    def apply_own(self, keys: SessionKeys) -> None:
        ended = keys.ended
        super().apply_own(keys)
        keys.retiring = self.retiring
        keys.ended = ended.remembering(
            min((key.generation for key in self.retiring), default=self.generation)
        )


class KeysDestroyed(KeyEvent):
    """The end: nothing verifies any more.

    `purged` says that the events before this one were removed from the log.
    """

    TOPIC = "keyturn.KeysDestroyed"
    kind = "destroyed"
    makes_a_key = False
    purged: bool

    @property
    def is_purge(self) -> bool:
        return self.purged

    def apply_own(self, keys: SessionKeys) -> None:
        keys.sealed_key = None
        keys.retiring = ()
        keys.key_position = self.originator_version
        keys.ended = EndedSessions()
        keys.is_purged = self.purged


class SessionEnded(KeyEvent):
    """One session was ended: its tokens are refused, whatever the key.

    `subject` is that of the token by which it was ended; None if only its sid was named.
    """

    TOPIC = "keyturn.SessionEnded"
    kind = "session ended"
    makes_a_key = False
    sid: str
    subject: str | None

    def apply_own(self, keys: SessionKeys) -> None:
        keys.ended.end(self.sid, self.originator_version, self.generation)


class SubjectSessionsEnded(KeyEvent):
    """All sessions of a subject that had begun were ended, but for the one of the sid `keep`."""

    TOPIC = "keyturn.SubjectSessionsEnded"
    kind = "sessions ended"
    makes_a_key = False
    subject: str
    keep: str | None

    def apply_own(self, keys: SessionKeys) -> None:
        keys.ended.end_subject(self.subject, self.keep, self.originator_version, self.generation)


_NOT_IN_STATE = ("originator_id", "originator_version", "digest")


def fields_of(event: KeyEvent) -> Mapping[str, object]:
    """Return the fields of an event, as its state at rest has them."""
    fields = {name: value for name, value in vars(event).items() if name not in _NOT_IN_STATE}
    fields["class_version"] = CLASS_VERSION
    return fields
