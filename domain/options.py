"""What a session manager is told when it starts, apart from its log and its key ring."""

from __future__ import annotations

from dataclasses import dataclass, field

from keyturn.domain.claims import check_expiry
from keyturn.domain.limits import MAX_INITIATOR, check_name, check_text
from keyturn.domain.rotation import RotationPolicy

DEFAULT_EXPIRY = 24 * 60 * 60.0
"""Seconds that a token lives unless somebody says otherwise: a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerOptions:
    """The options of one session manager, checked when they are made.

    Attributes:
        name: which manager of the log.
        expiry: seconds that a token lives unless told otherwise; None: for ever.
        max_lifetime: seconds that a session lasts, however often refreshed; None: for ever.
        rotate_every: seconds after which the key is rotated by itself; None: never.
        overlap: whole seconds that tokens under such a key stay good then; None: as long as a
            token lives.
        initiator: who is recorded for a change unless a message says; None: `user@host`.
        rotation: what `rotate_every` and `overlap` come to; None: no rotation.

    Raises:
        AuditTextError: the name or the initiator cannot be recorded.
        ExpiryError: `expiry` or `max_lifetime` is not a finite number of seconds ≥ 0.
        SettingsError: `rotate_every` or `overlap` is bad, or they do not go together.
    """

    name: str = "default"
    expiry: float | None = DEFAULT_EXPIRY
    max_lifetime: float | None = None
    rotate_every: float | None = None
    overlap: int | None = None
    initiator: str | None = None
    rotation: RotationPolicy | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.initiator is not None:
            check_text(self.initiator, "initiator", MAX_INITIATOR)
        expiry = check_expiry(self.expiry)
        checked = {
            "expiry": expiry,
            "max_lifetime": check_expiry(self.max_lifetime),
            "rotation": RotationPolicy.of(self.rotate_every, self.overlap, expiry),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # the way of a frozen dataclass
