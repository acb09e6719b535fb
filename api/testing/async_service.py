"""The same service, awaited. It belongs to no event loop: whichever awaits it will do."""

from __future__ import annotations

from keyturn.aio import AsyncService
from keyturn.operations import handed_on
from keyturn.testing.clocked_service import ClockedService
from keyturn.testing.events import EventSpec
from keyturn.testing.faults import Faults
from keyturn.testing.manual_clock import ManualClock
from keyturn.testing.workbench import open_service


class ClockedAsyncService(AsyncService):
    """A `ClockedService` whose methods are awaited; what a test does to it is not.

    Attributes:
        plain: the same service for plain calls.
    """

    plain: ClockedService

    def __init__(self, service: ClockedService) -> None:
        super().__init__(service)
        service.faults.attach(self)

    @property
    def clock(self) -> ManualClock:
        """The time that decides about expiry."""
        return self.plain.clock

    @property
    def faults(self) -> Faults:
        """What goes wrong: see `ClockedService`."""
        return self.plain.faults

    def elsewhere(self, *events: EventSpec) -> None:
        """Have another process that shares the log do this, at once."""
        self.plain.elsewhere(*events)

    async def __aexit__(self, *exc_info: object) -> None:
        await super().__aexit__(*exc_info)
        if exc_info[0] is None:
            self.faults.check_all_happened()


open_async_service = handed_on(open_service, lambda call: ClockedAsyncService(call()))
"""Open a service in memory for asyncio, to be used in an `async with` block.

The arguments are those of `open_service`.
"""
