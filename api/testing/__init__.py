"""Test a host with real parts: a service in memory, a clock that the test moves, a replay.

Nothing here is a stand-in. The log is a real log (in memory), its events are signed by a real
key ring (of this test only), and messages go to a real `SessionManager`. pytest's fixtures
`keyturn_service` and `replay` make these; without pytest, use them in a `with` block:

    with Replay() as replay:
        replay.given(Generated(initiator="ops"))
        replay.when(ResetKey(reason="laptop stolen")).then(Reset(reason="laptop stolen"))
"""

from keyturn.testing.clocked_service import ClockedService, ManualClock, open_service
from keyturn.testing.events import Destroyed, EventSpec, Generated, Reset, Rotated
from keyturn.testing.replay import Replay

__all__ = [
    "ClockedService",
    "Destroyed",
    "EventSpec",
    "Generated",
    "ManualClock",
    "Replay",
    "Reset",
    "Rotated",
    "open_service",
]
