"""Test a host with real parts: a service in memory, a clock that the test moves, a replay.

Nothing here is a stand-in. The log is a real log (in memory), its events are signed by a real
key ring (of this test only), and messages go to a real `SessionManager`. pytest's fixtures
`keyturn_service` and `replay` make these; without pytest, use them in a `with` block:

    with Replay() as replay:
        replay.given(Generated(initiator="ops"))
        replay.when(ResetKey(reason="laptop stolen")).then(Reset(reason="laptop stolen"))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyturn.testing.async_service import ClockedAsyncService, open_async_service
    from keyturn.testing.clocked_service import ClockedService
    from keyturn.testing.events import (
        Destroyed,
        EventSpec,
        Generated,
        Reset,
        Rotated,
        SessionEnded,
        SessionsEnded,
    )
    from keyturn.testing.faults import Fault, Faults
    from keyturn.testing.manual_clock import ManualClock
    from keyturn.testing.replay import Replay
    from keyturn.testing.replies import Token
    from keyturn.testing.workbench import open_service

__all__ = [
    "ClockedAsyncService",
    "ClockedService",
    "Destroyed",
    "EventSpec",
    "Fault",
    "Faults",
    "Generated",
    "ManualClock",
    "Replay",
    "Reset",
    "Rotated",
    "SessionEnded",
    "SessionsEnded",
    "Token",
    "open_async_service",
    "open_service",
]

_MODULES = {
    "ClockedAsyncService": "async_service",
    "ClockedService": "clocked_service",
    "Fault": "faults",
    "Faults": "faults",
    "ManualClock": "manual_clock",
    "Replay": "replay",
    "Token": "replies",
    "open_async_service": "async_service",
    "open_service": "workbench",
}


def __getattr__(name: str) -> Any:
    """Load a part when it is first asked for (PEP 562): pytest imports the plugin always."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES.get(name, 'events')}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
