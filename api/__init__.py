"""Keyturn: session tokens whose keys have a history.

Open a service with `open` (or `open_async`), or start the actors yourself and send them the
messages below with `ask` (or `ask_async`).

Each name is loaded when it is first asked for (PEP 562): pytest imports this package in every
run of whoever has Keyturn installed, and a host that needs no asyncio loads none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from keyturn.aio import AsyncService
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
    from keyturn.opening_async import open_async
    from keyturn.projections.audit import audit
    from keyturn.projections.findings import (
        AuditReport,
        Finding,
        FindingKind,
        HeldAgainst,
        NodeIdFrom,
    )
    from keyturn.projections.history import HistoryFilter, KeyChange, RotationHistory
    from keyturn.projections.unproven import Unproven
    from keyturn.service import Service
    from keyturn.token_file import ClientSession

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
    "HeldAgainst",
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
    "NodeIdFrom",
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
    "Unproven",
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

_NAMES = {  # of each module
    "actors.activity": "Metrics",
    "actors.asking": "ActorStoppedError AskTimeoutError ask ask_async",
    "actors.messages": (
        "Authenticate AuthenticateTokens ClearToken CreateToken CreateTokens Destroy "
        "EndSession EndSessions InspectToken ManagerDestroyed ManagerStarted "
        "ManagerStopped Message ReadHistory ReadToken RefreshToken ResetKey RotateKey "
        "SetupKey Start Stop Subscribe Unsubscribe VerifyToken VerifyTokens WriteToken"
    ),
    "actors.replies": "Authenticated TokenReport",
    "actors.session": "Session",
    "actors.session_manager": "SessionManager",
    "actors.transaction": "Transaction transaction",
    "aio": "AsyncService",
    "config.anchor": "Anchor",
    "config.event_log": "EventLog",
    "config.local_key_ring": "KeyRing",
    "config.settings": "Settings",
    "config.stores": "open_event_log",
    "config.token_file": "ANY_TOKEN",
    "domain.checkpoint": "Checkpoint",
    "domain.claims": "Claims",
    "domain.errors": "KeyturnError Refusal TokenRefusedError",
    "domain.key_ring": "KeyRingLike",
    "domain.manager_state": "ManagerState",
    "domain.node": "decode_node_id encode_node_id",
    "domain.session_keys": "SessionKeys",
    "domain.tokens": "SessionKey SessionToken",
    "opening": "open",
    "opening_async": "open_async",
    "projections.audit": "audit",
    "projections.findings": "AuditReport Finding FindingKind HeldAgainst NodeIdFrom",
    "projections.history": "HistoryFilter KeyChange RotationHistory",
    "projections.unproven": "Unproven",
    "service": "Service",
    "token_file": "ClientSession",
}

_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Load a public name, and keep it."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
