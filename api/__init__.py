"""Keyturn: session tokens whose keys have a history.

Open a service with `open` (or `open_async`), or start the actors yourself and send them the
messages below with `ask` (or `ask_async`).
"""

from typing import TYPE_CHECKING, Any

from keyturn.actors.activity import Metrics
from keyturn.actors.asking import ActorStoppedError, AskTimeoutError, ask, ask_async
from keyturn.actors.messages import (
    Authenticate,
    AuthenticateTokens,
    ClearToken,
    CreateToken,
    CreateTokens,
    Destroy,
    EndSession,
    EndSessions,
    InspectToken,
    ManagerDestroyed,
    ManagerStarted,
    ManagerStopped,
    Message,
    ReadHistory,
    ReadToken,
    RefreshToken,
    ResetKey,
    RotateKey,
    SetupKey,
    Start,
    Stop,
    Subscribe,
    Unsubscribe,
    VerifyToken,
    VerifyTokens,
    WriteToken,
)
from keyturn.actors.replies import Authenticated, TokenReport
from keyturn.actors.session import Session
from keyturn.actors.session_manager import SessionManager
from keyturn.actors.transaction import Transaction, transaction
from keyturn.config.anchor import Anchor
from keyturn.config.event_log import EventLog
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.settings import Settings
from keyturn.config.stores import open_event_log
from keyturn.config.token_file import ANY_TOKEN
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.claims import Claims
from keyturn.domain.errors import KeyturnError, Refusal, TokenRefusedError
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.manager_state import ManagerState
from keyturn.domain.node import decode_node_id, encode_node_id
from keyturn.domain.session_keys import SessionKeys
from keyturn.domain.tokens import SessionKey, SessionToken
from keyturn.opening import open  # noqa: A004 - as keyturn.open
from keyturn.projections.audit import audit
from keyturn.projections.findings import AuditReport, Finding, FindingKind
from keyturn.projections.history import HistoryFilter, KeyChange, RotationHistory
from keyturn.service import Service
from keyturn.token_file import ClientSession

if TYPE_CHECKING:
    from keyturn.aio import AsyncService
    from keyturn.opening_async import open_async

__version__ = "0.2.0"

__all__ = [
    "ANY_TOKEN",
    "ActorStoppedError",
    "Anchor",
    "AskTimeoutError",
    "AsyncService",
    "AuditReport",
    "Authenticate",
    "AuthenticateTokens",
    "Authenticated",
    "Checkpoint",
    "Claims",
    "ClearToken",
    "ClientSession",
    "CreateToken",
    "CreateTokens",
    "Destroy",
    "EndSession",
    "EndSessions",
    "EventLog",
    "Finding",
    "FindingKind",
    "HistoryFilter",
    "InspectToken",
    "KeyChange",
    "KeyRing",
    "KeyRingLike",
    "KeyturnError",
    "ManagerDestroyed",
    "ManagerStarted",
    "ManagerState",
    "ManagerStopped",
    "Message",
    "Metrics",
    "ReadHistory",
    "ReadToken",
    "RefreshToken",
    "Refusal",
    "ResetKey",
    "RotateKey",
    "RotationHistory",
    "Service",
    "Session",
    "SessionKey",
    "SessionKeys",
    "SessionManager",
    "SessionToken",
    "Settings",
    "SetupKey",
    "Start",
    "Stop",
    "Subscribe",
    "TokenRefusedError",
    "TokenReport",
    "Transaction",
    "Unsubscribe",
    "VerifyToken",
    "VerifyTokens",
    "WriteToken",
    "ask",
    "ask_async",
    "audit",
    "decode_node_id",
    "encode_node_id",
    "open",
    "open_async",
    "open_event_log",
    "transaction",
]


def __getattr__(name: str) -> Any:
    """Load what needs asyncio when it is first asked for: most hosts never do (PEP 562)."""
    if name in ("AsyncService", "open_async"):
        from keyturn import aio, opening_async

        return opening_async.open_async if name == "open_async" else aio.AsyncService
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
