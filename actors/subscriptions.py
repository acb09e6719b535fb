"""Who is told of events."""

from __future__ import annotations

from typing import Any

import pykka

from keyturn.config.logging import Logger
from keyturn.domain.errors import UnknownMessageError


class Subscribers:
    """The actors to tell, in the order in which they subscribed.

    `told_position` is that of the newest event of the log that they were told. They outlive an
    actor that is started again.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._refs: list[pykka.ActorRef[Any]] = []
        self.told_position = 0

    def __len__(self) -> int:
        return len(self._refs)

    def add(self, ref: pykka.ActorRef[Any]) -> None:
        if not isinstance(ref, pykka.ActorRef):
            raise UnknownMessageError(f"a subscriber is an ActorRef, not a {type(ref).__name__}")
        if ref not in self._refs:
            self._refs.append(ref)

    def remove(self, ref: pykka.ActorRef[Any]) -> None:
        if ref in self._refs:
            self._refs.remove(ref)

    def tell(self, event: object) -> None:
        """Tell everybody. One that cannot be told is dropped, and nobody else notices."""
        for ref in list(self._refs):
            try:
                ref.tell(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is theirs
                self._refs.remove(ref)
                self._logger.warning(
                    "dropped a subscriber", subscriber=str(ref), error=type(error).__name__
                )
