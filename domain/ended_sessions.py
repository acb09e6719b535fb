"""Which sessions were ended, and for how long that must be remembered.

No clock decides here. An end is forgotten once every key that may have signed a token of the
session has ended: no token of it is minted after its end, so these are the keys that were
current or in overlap then, all of that generation or an older one.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import NamedTuple


class End(NamedTuple):
    """An end of one session: its position in the log, and the current generation there."""

    position: int
    generation: int


class SubjectEnd(NamedTuple):
    """An end of all sessions of a subject that began before `position`.

    The session `keep` goes on, unless it began before `earlier`: what an earlier end of the
    same subject has ended, a later one does not revive.
    """

    position: int
    generation: int
    keep: str | None = None
    earlier: End | None = None

    def covers(self, sid: str, began: int) -> bool:
        """Whether it ended a session of the subject, which began at this position."""
        if sid != self.keep:
            return began < self.position
        return self.earlier is not None and began < self.earlier.position

    @property
    def oldest(self) -> int:
        """The position from which the log must be read to know all of it."""
        return self.position if self.earlier is None else self.earlier.position


@dataclass(slots=True, eq=False, repr=False)
class EndedSessions:
    """The ended sessions of one manager that still matter.

    The heads of one stream share an object: entries are only added to it, each in one step, so
    that other threads may ask meanwhile. An event that forgets entries makes a new object.

    Attributes:
        oldest: the position from which the log must be read to know all of them; None: there
            are none.
    """

    _sids: MutableMapping[str, End] = field(default_factory=dict)
    _subjects: MutableMapping[str, SubjectEnd] = field(default_factory=dict)
    oldest: int | None = None

    def __len__(self) -> int:
        return len(self._sids) + len(self._subjects)

    def draft(self) -> EndedSessions:
        """Return one that knows the same; what is added to it does not show here."""
        return EndedSessions(ChainMap({}, self._sids), ChainMap({}, self._subjects), self.oldest)

    def covers(self, sid: str, subject: str, began: int) -> bool:
        """Whether the session was ended.

        Args:
            sid: of the session.
            subject: whose it is.
            began: the position of the head when it began.
        """
        if sid in self._sids:
            return True
        end = self._subjects.get(subject)
        return end is not None and end.covers(sid, began)

    def has_sid(self, sid: str) -> bool:
        """Whether this session was ended by its sid."""
        return sid in self._sids

    def end(self, sid: str, position: int, generation: int) -> None:
        """Note that one session was ended."""
        self._sids.setdefault(sid, End(position, generation))
        self._note(position)

    def end_subject(self, subject: str, keep: str | None, position: int, generation: int) -> None:
        """Note that all sessions of a subject but `keep` were ended."""
        before = self._subjects.get(subject)
        if before is not None and before.position >= position:
            return  # a reading that failed half-way is repeated
        earlier = None
        if before is not None and keep is not None:
            is_kept_again = before.keep == keep
            earlier = before.earlier if is_kept_again else End(before.position, before.generation)
        self._subjects[subject] = SubjectEnd(position, generation, keep, earlier)
        self._note(position)

    def remembering(self, oldest_generation: int) -> EndedSessions:
        """Return those that still matter when no key older than this generation is good."""
        sids = {
            sid: end
            for sid, end in list(self._sids.items())
            if end.generation >= oldest_generation
        }
        subjects = {}
        for subject, end in list(self._subjects.items()):
            if end.generation >= oldest_generation:
                earlier = end.earlier
                if earlier is not None and earlier.generation < oldest_generation:
                    earlier = None
                subjects[subject] = end._replace(earlier=earlier)
        positions = [end.position for end in sids.values()]
        positions += [end.oldest for end in subjects.values()]
        return EndedSessions(sids, subjects, min(positions, default=None))

    def _note(self, position: int) -> None:
        if self.oldest is None:
            self.oldest = position
