"""Checkpoints: one line that says where a history stood, to be kept somewhere else.

In the spirit of C2SP's tlog-checkpoint: origin, size and hash of a log, under a signature. Ours
fit on a line, for a history is a chain and its head's own signature is all the proof it needs:

    keyturn-checkpoint-v1 NODE MANAGER POSITION DIGEST TIME SIGNATURE

The manager's name is percent-encoded, the time is that of the event. Who keeps the line can
check it with nothing else, and have any later copy of the log checked against it. Only the time
is not under the signature itself, but under the digest: an audit compares it with the event's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from keyturn.domain import chain
from keyturn.domain.errors import CheckpointError
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.session_keys import manager_id

_TAG = "keyturn-checkpoint-v1"


@dataclass(frozen=True)
class Checkpoint:
    """Where the history of a manager stood.

    Attributes:
        node_id: whose log it is.
        manager: the name of the manager.
        position: of its newest event then, from 1 on.
        digest: of that event, in hex.
        at: when that event happened, in UTC.
        signature: of that event: the node's, under position and digest.
    """

    node_id: str
    manager: str
    position: int
    digest: str
    at: datetime
    signature: str

    @classmethod
    def of(cls, event: KeyEvent) -> Checkpoint:
        """Return the checkpoint of a history that ends with this event."""
        return cls(
            event.node_id,
            event.manager,
            event.originator_version,
            event.digest,
            event.timestamp,
            event.signature,
        )

    @classmethod
    def parse(cls, line: str) -> Checkpoint:
        """Return the checkpoint that a line spells, its signature checked.

        Raises:
            CheckpointError: it is not a whole checkpoint, or its node did not sign it.
        """
        try:
            _, node_id, name, position, digest, time, signature = line.strip().split(" ")
            at = datetime.fromisoformat(time).astimezone(UTC)
            checkpoint = cls(node_id, unquote(name), int(position), digest, at, signature)
            is_whole = str(checkpoint) == line.strip()
        except (ValueError, OverflowError):
            is_whole = False
        if not is_whole:
            raise CheckpointError(
                f"a checkpoint is one whole line that begins with {_TAG}, as Keyturn wrote it"
            )
        if not chain.is_signed(
            node_id, manager_id(checkpoint.manager), checkpoint.position, digest, signature
        ):
            raise CheckpointError("the checkpoint was not signed by the node that it names")
        return checkpoint

    def __str__(self) -> str:
        time = self.at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        name = quote(self.manager, safe="")
        head = f"{_TAG} {self.node_id} {name} {self.position}"
        return f"{head} {self.digest} {time} {self.signature}"
