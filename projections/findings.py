"""What an audit says: the verdict, each thing that is wrong, and what it was held against."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from keyturn.domain.checkpoint import Checkpoint
from keyturn.projections.unproven import Unproven

_MAX_NAMES = 5


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
        last: the last position, where it is about several; None: only about this one.
        unproven: what the row says of itself, if there is one here that does not belong here.
            None: it is about the genuine event of this position, or there is none.
    """

    kind: FindingKind
    position: int | None
    manager: str | None
    message: str
    last: int | None = None
    unproven: Unproven | None = None


class NodeIdFrom(enum.Enum):
    """Who said whose record it should be."""

    KEY_RING = "key ring"
    CALLER = "caller"


@dataclass(frozen=True, slots=True)
class HeldAgainst:
    """What the record was compared with besides itself.

    Attributes:
        node_id: whose record it should be; None: any node's would have done.
        anchor: the position that the anchor has seen, by manager.
        checkpoints: the positions of the checkpoints, by manager.
        node_id_from: who said whose record it should be; None: nobody.
    """

    node_id: str | None = None
    anchor: Mapping[str, int] = field(default_factory=dict)
    checkpoints: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    node_id_from: NodeIdFrom | None = None


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
        is_quick: whether only the signatures of the newest events were checked.
    """

    node_id: str | None
    events: int
    heads: Mapping[str, Checkpoint]
    findings: tuple[Finding, ...]
    held_against: HeldAgainst = HeldAgainst()
    ends_known: frozenset[str] = frozenset()
    is_quick: bool = False

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

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the verdict does not show, and why: a sentence each, without its full stop."""
        return tuple(self._caveats())

    def _caveats(self) -> Iterator[str]:
        if self.held_against.node_id is None and self.node_id is not None:
            yield (
                f"nobody said whose record it should be: it is that of node {self.node_id}, and "
                "anybody can sign a record of their own"
            )
        if not self.is_end_known:
            names = ", ".join(self.ends_unknown[:_MAX_NAMES])
            more = len(self.ends_unknown) - _MAX_NAMES
            whose = f" of {names}{f' and {more} more' if more > 0 else ''}" if names else ""
            yield (
                "no anchor and no checkpoint knows the end: nobody can tell whether the end "
                f"of the history{whose} was cut off"
            )
        for name, positions in self.held_against.checkpoints.items():
            if name in self.ends_known and name not in self.held_against.anchor:
                yield (
                    f"the newest checkpoint knows {name} until position {max(positions)}: nobody "
                    "can tell whether what came after that was cut off"
                )
        if self.is_quick:
            yield (
                "a quick audit: of each history only the newest signature was checked; it vouches"
                " for the events before it, but that their own signatures are unaltered is not"
                " shown"
            )
