"""Keyturn: session tokens whose keys have a history.

Open a service with `open` (or `open_async`), or start the actors yourself and send them the
messages below with `ask` (or `ask_async`).

Each name is loaded when it is first asked for (PEP 562): pytest imports this package in every
run of whoever has Keyturn installed, and a host that needs no asyncio loads none.
"""

# ruff: noqa: I001 - each name is imported as itself, which says to type checkers that it is public

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyturn.actors.activity import Metrics as Metrics
    from keyturn.actors.asking import (
        ActorStoppedError as ActorStoppedError,
        AskTimeoutError as AskTimeoutError,
        ask as ask,
        ask_async as ask_async,
    )
    from keyturn.actors.messages import (
        Authenticate as Authenticate,
        AuthenticateTokens as AuthenticateTokens,
        ClearToken as ClearToken,
        CreateToken as CreateToken,
        CreateTokens as CreateTokens,
        Destroy as Destroy,
        EndSession as EndSession,
        EndSessions as EndSessions,
        InspectToken as InspectToken,
        ManagerDestroyed as ManagerDestroyed,
        ManagerStarted as ManagerStarted,
        ManagerStopped as ManagerStopped,
        Message as Message,
        ReadHistory as ReadHistory,
        ReadToken as ReadToken,
        RefreshToken as RefreshToken,
        ResetKey as ResetKey,
        RotateKey as RotateKey,
        SetupKey as SetupKey,
        Start as Start,
        Stop as Stop,
        Subscribe as Subscribe,
        Unsubscribe as Unsubscribe,
        VerifyToken as VerifyToken,
        VerifyTokens as VerifyTokens,
        WriteToken as WriteToken,
    )
    from keyturn.actors.replies import (
        Authenticated as Authenticated,
        TokenReport as TokenReport,
    )
    from keyturn.actors.session import Session as Session
    from keyturn.actors.session_manager import SessionManager as SessionManager
    from keyturn.actors.transacting import transaction as transaction
    from keyturn.actors.transaction import Transaction as Transaction
    from keyturn.aio import AsyncService as AsyncService
    from keyturn.config.anchor import Anchor as Anchor
    from keyturn.config.event_log import EventLog as EventLog
    from keyturn.config.local_key_ring import KeyRing as KeyRing
    from keyturn.config.settings import Settings as Settings
    from keyturn.config.stores import open_event_log as open_event_log
    from keyturn.config.token_file import ANY_TOKEN as ANY_TOKEN
    from keyturn.domain.checkpoint import Checkpoint as Checkpoint
    from keyturn.domain.claims import Claims as Claims
    from keyturn.domain.errors import (
        KeyturnError as KeyturnError,
        Refusal as Refusal,
        TokenRefusedError as TokenRefusedError,
    )
    from keyturn.domain.key_ring import KeyRingLike as KeyRingLike
    from keyturn.domain.manager_state import ManagerState as ManagerState
    from keyturn.domain.node import (
        decode_node_id as decode_node_id,
        encode_node_id as encode_node_id,
    )
    from keyturn.domain.session_keys import SessionKeys as SessionKeys
    from keyturn.domain.tokens import (
        SessionKey as SessionKey,
        SessionToken as SessionToken,
    )
    from keyturn.opening import open as open  # noqa: A004 - as keyturn.open
    from keyturn.opening_async import open_async as open_async
    from keyturn.projections.audit import audit as audit
    from keyturn.projections.findings import (
        AuditReport as AuditReport,
        Finding as Finding,
        FindingKind as FindingKind,
        HeldAgainst as HeldAgainst,
        NodeIdFrom as NodeIdFrom,
    )
    from keyturn.projections.history import (
        HistoryFilter as HistoryFilter,
        KeyChange as KeyChange,
        RotationHistory as RotationHistory,
    )
    from keyturn.projections.unproven import Unproven as Unproven
    from keyturn.service import Service as Service
    from keyturn.token_file import ClientSession as ClientSession

__version__ = "0.2.0"

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
    "actors.transacting": "transaction",
    "actors.transaction": "Transaction",
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

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Load a public name, and keep it."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
