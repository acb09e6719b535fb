"""What an audit says: the verdict, and each thing that is wrong."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from keyturn.domain.checkpoint import Checkpoint


class FindingKind(enum.Enum):
    """What is wrong."""

    ALTERED = "altered"
    MISSING = "missing"
    REORDERED = "reordered"
    FOREIGN = "foreign"
    TRUNCATED = "truncated"
    CLOCK = "clock"

    @property
    def is_warning(self) -> bool:
        """Whether the record holds all the same."""
        return self is FindingKind.CLOCK


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with the record.

    Attributes:
        kind: what.
        position: where in the history, if it is known.
        manager: in whose, if it is known.
        message: what it means.
    """

    kind: FindingKind
    position: int | None
    manager: str | None
    message: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The verdict on a log.

    Attributes:
        node_id: the node that the record was held against; None for an empty log.
        events: how many key events were looked at.
        heads: the newest genuine event of each manager, as a checkpoint, by name.
        findings: what is wrong, in the order of the log.
        held_against: what the record was compared with besides itself: some of "node id",
            "anchor" and "checkpoint". Without the last two nobody can tell that the end of a
            history was cut off.
    """

    node_id: str | None
    events: int
    heads: Mapping[str, Checkpoint]
    findings: tuple[Finding, ...]
    held_against: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the record can be trusted: nothing is wrong but, maybe, a clock."""
        return all(finding.kind.is_warning for finding in self.findings)

    @property
    def is_end_known(self) -> bool:
        """Whether a history that was cut short would have been noticed."""
        return "anchor" in self.held_against or "checkpoint" in self.held_against
