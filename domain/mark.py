"""What the anchor keeps of a manager: where the log was last seen to end."""

from __future__ import annotations

import msgspec


class Mark(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The newest event of a manager: position (from 1), digest (hex) and the event's signature.

    `purged`: the whole history was removed after that event. Only anchors of version 1 say so.
    `imported`: an import put this head into the log; the next opening must reset the key.
    """

    position: int
    digest: str
    signature: str
    purged: bool = False
    imported: bool = False
