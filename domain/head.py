"""The head of a stream: its newest event, and the state after it."""

from __future__ import annotations

from dataclasses import dataclass, field

from eventsourcing.persistence import StoredEvent

from keyturn.domain.key_ring import KeyRingLike, unseal_key
from keyturn.domain.mark import Mark
from keyturn.domain.session_keys import SessionKeys
from keyturn.domain.tokens import KeySet, SessionKey, SigningKey


@dataclass(frozen=True, slots=True)
class Head:
    """The newest event of a manager's stream as it was read, and the state after it.

    Attributes:
        position: of the event, from 1 on; 0: there is none.
        digest: of the event, in hex.
        signature: of the event.
        stored: the row of the event; None at position 0.
        keys: the state. It is never changed: commands take a `draft` of it.
        key_set: the keys of the state, unsealed; without any where nothing unseals.
    """

    position: int
    digest: str
    signature: str
    stored: StoredEvent | None = field(repr=False)
    keys: SessionKeys = field(repr=False)
    key_set: KeySet = field(repr=False)

    @classmethod
    def of(cls, keys: SessionKeys, stored: StoredEvent | None, key_set: KeySet) -> Head:
        """Return the head at the newest event of these keys."""
        return cls(keys.version, keys.digest, keys.signature, stored, keys, key_set)

    @property
    def mark(self) -> Mark:
        """What an anchor remembers of it."""
        return Mark(self.position, self.digest, self.signature)


def key_set_of(
    keys: SessionKeys, key_ring: KeyRingLike | None = None, before: KeySet | None = None
) -> KeySet:
    """Return the keys of a state, unsealed.

    Args:
        keys: the state.
        key_ring: unseals; None: there are no keys in the set.
        before: of an earlier state; its keys are not unsealed again.
    """
    if key_ring is None or keys.sealed_key is None:
        return KeySet(None, {}, keys.ended, keys.version)
    known = {key.key_id: key for key, _ in before.accepted.values()} if before else {}

    def signing_key(sealed_key: str, generation: int, key_id: str) -> SigningKey:
        if key_id in known:  # a key ring may be far away
            return known[key_id]
        secret = unseal_key(key_ring, sealed_key, keys.manager, generation, key_id)
        return SigningKey(SessionKey(generation, key_id, secret))

    current = signing_key(keys.sealed_key, keys.generation, keys.key_id)
    accepted: dict[str, tuple[SigningKey, float | None]] = {current.header: (current, None)}
    for retiring in keys.retiring:
        key = signing_key(retiring.sealed_key, retiring.generation, retiring.key_id)
        accepted[key.header] = (key, retiring.good_until.timestamp())
    return KeySet(current, accepted, keys.ended, keys.version)


def blank_head(manager: str) -> Head:
    """Return the head of a stream without events."""
    keys = SessionKeys.blank(manager)
    return Head.of(keys, None, key_set_of(keys))
