"""What an audit says: the verdict, each thing that is wrong, and what it was held against."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from keyturn.domain.checkpoint import Checkpoint


class FindingKind(enum.Enum):
    """What is wrong."""

    ALTERED = "altered"
    MISSING = "missing"
    REORDERED = "reordered"
    FOREIGN = "foreign"
    TRUNCATED = "truncated"
    PUT_BACK = "put back"
    READER = "reader"
    STORE = "store"
    ABANDONED = "abandoned"
    CLOCK = "clock"

    @property
    def is_warning(self) -> bool:
        """Whether the record holds all the same."""
        return self in (FindingKind.ABANDONED, FindingKind.CLOCK)


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
class HeldAgainst:
    """What the record was compared with besides itself.

    Attributes:
        node_id: whose record it should be; None: any node's would have done.
        anchor: the position that the anchor has seen, by manager.
        checkpoints: the positions of the checkpoints, by manager.
    """

    node_id: str | None = None
    anchor: Mapping[str, int] = field(default_factory=dict)
    checkpoints: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The verdict on a log.

    Attributes:
        node_id: the node whose record it is; None for an empty log of any node.
        events: how many key events were looked at.
        heads: the newest genuine event of each manager, as a checkpoint, by name.
        findings: what is wrong, in the order of the log.
        held_against: what the record was compared with besides itself.
        ends_known: the managers of whose history an anchor or a checkpoint knows the end.
            Of another one nobody can tell whether its end was cut off.
    """

    node_id: str | None
    events: int
    heads: Mapping[str, Checkpoint]
    findings: tuple[Finding, ...]
    held_against: HeldAgainst = HeldAgainst()
    ends_known: frozenset[str] = frozenset()

    @property
    def holds(self) -> bool:
        """Whether the record can be trusted: nothing but a warning was found."""
        return all(finding.kind.is_warning for finding in self.findings)

    @property
    def is_end_known(self) -> bool:
        """Whether the end of every history is known."""
        return bool(self.ends_known) and self.heads.keys() <= self.ends_known

    @property
    def ends_unknown(self) -> tuple[str, ...]:
        """The managers whose history may have been cut short, for all that is known."""
        return tuple(sorted(self.heads.keys() - self.ends_known))
