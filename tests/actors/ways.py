"""The three ways to call a session manager: messages, its proxy, the service handle.

They promise the same, so most tests of the manager run with each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import keyturn
from keyturn import (
    AsyncService,
    Authenticated,
    Service,
    SessionToken,
    TokenRefusedError,
    TokenReport,
    Transaction,
)


class Way(Protocol):
    """What all three can do."""

    def create_token(
        self,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        tran: Transaction | None = None,
    ) -> SessionToken: ...
    def verify_token(self, token: object, tran: Transaction | None = None) -> bool: ...
    def create_tokens(
        self,
        count: int,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        tran: Transaction | None = None,
    ) -> list[SessionToken]: ...
    def verify_tokens(
        self, tokens: Iterable[object], tran: Transaction | None = None
    ) -> list[bool]: ...
    def refresh_token(
        self, token: object, expiry: float | None = None, tran: Transaction | None = None
    ) -> SessionToken: ...
    def authenticate(
        self, token: object, max_age: float | None = None, tran: Transaction | None = None
    ) -> Authenticated: ...
    def authenticate_tokens(
        self,
        tokens: Iterable[object],
        max_age: float | None = None,
        tran: Transaction | None = None,
    ) -> list[Authenticated | TokenRefusedError]: ...
    def inspect_token(self, token: object) -> TokenReport: ...
    def end_session(
        self,
        token: object = None,
        sid: Any = None,
        reason: Any = None,
        initiator: Any = None,
        tran: Transaction | None = None,
    ) -> bool: ...
    def end_sessions(
        self,
        subject: Any = None,
        keep: Any = None,
        sids: Any = None,
        reason: Any = None,
        initiator: Any = None,
        tran: Transaction | None = None,
    ) -> int: ...
    def reset_key(
        self,
        reason: str | None = None,
        initiator: str | None = None,
        tran: Transaction | None = None,
    ) -> None: ...
    def rotate_key(
        self, overlap: int, reason: str | None = None, initiator: str | None = None
    ) -> None: ...
    def transaction(self) -> contextlib.AbstractContextManager[Transaction]: ...
    def start(self, fresh: bool = False) -> None: ...
    def stop(self) -> None: ...
    def destroy(self, purge: bool = False) -> None: ...


class ByMessages:
    """With `keyturn.ask`."""

    def __init__(self, service: Service) -> None:
        self.ref = service.manager

    def create_token(self, *args: Any, **kwargs: Any) -> SessionToken:
        return keyturn.ask(self.ref, keyturn.CreateToken(*args, **kwargs))

    def verify_token(self, *args: Any, **kwargs: Any) -> bool:
        return keyturn.ask(self.ref, keyturn.VerifyToken(*args, **kwargs))

    def create_tokens(self, *args: Any, **kwargs: Any) -> list[SessionToken]:
        return keyturn.ask(self.ref, keyturn.CreateTokens(*args, **kwargs))

    def verify_tokens(self, *args: Any, **kwargs: Any) -> list[bool]:
        return keyturn.ask(self.ref, keyturn.VerifyTokens(*args, **kwargs))

    def refresh_token(self, *args: Any, **kwargs: Any) -> SessionToken:
        return keyturn.ask(self.ref, keyturn.RefreshToken(*args, **kwargs))

    def authenticate(self, *args: Any, **kwargs: Any) -> Authenticated:
        return keyturn.ask(self.ref, keyturn.Authenticate(*args, **kwargs))

    def authenticate_tokens(
        self, *args: Any, **kwargs: Any
    ) -> list[Authenticated | TokenRefusedError]:
        return keyturn.ask(self.ref, keyturn.AuthenticateTokens(*args, **kwargs))

    def inspect_token(self, token: object) -> TokenReport:
        return keyturn.ask(self.ref, keyturn.InspectToken(token))

    def end_session(self, *args: Any, **kwargs: Any) -> bool:
        return keyturn.ask(self.ref, keyturn.EndSession(*args, **kwargs))

    def end_sessions(self, *args: Any, **kwargs: Any) -> int:
        return keyturn.ask(self.ref, keyturn.EndSessions(*args, **kwargs))

    def reset_key(self, *args: Any, **kwargs: Any) -> None:
        keyturn.ask(self.ref, keyturn.ResetKey(*args, **kwargs))

    def rotate_key(self, *args: Any, **kwargs: Any) -> None:
        keyturn.ask(self.ref, keyturn.RotateKey(*args, **kwargs))

    def transaction(self) -> contextlib.AbstractContextManager[Transaction]:
        return keyturn.transaction(self.ref)

    def start(self, fresh: bool = False) -> None:
        keyturn.ask(self.ref, keyturn.Start(fresh))

    def stop(self) -> None:
        keyturn.ask(self.ref, keyturn.Stop())

    def destroy(self, purge: bool = False) -> None:
        keyturn.ask(self.ref, keyturn.Destroy(purge))


class ByProxy:
    """With the methods of pykka's proxy."""

    def __init__(self, service: Service) -> None:
        self.ref = service.manager
        self._proxy: Any = self.ref.proxy()

    def create_token(self, *args: Any, **kwargs: Any) -> SessionToken:
        return self._proxy.create_token(*args, **kwargs).get()

    def verify_token(self, *args: Any, **kwargs: Any) -> bool:
        return self._proxy.verify_token(*args, **kwargs).get()

    def create_tokens(self, *args: Any, **kwargs: Any) -> list[SessionToken]:
        return self._proxy.create_tokens(*args, **kwargs).get()

    def verify_tokens(self, *args: Any, **kwargs: Any) -> list[bool]:
        return self._proxy.verify_tokens(*args, **kwargs).get()

    def refresh_token(self, *args: Any, **kwargs: Any) -> SessionToken:
        return self._proxy.refresh_token(*args, **kwargs).get()

    def authenticate(self, *args: Any, **kwargs: Any) -> Authenticated:
        return self._proxy.authenticate(*args, **kwargs).get()

    def authenticate_tokens(
        self, *args: Any, **kwargs: Any
    ) -> list[Authenticated | TokenRefusedError]:
        return self._proxy.authenticate_tokens(*args, **kwargs).get()

    def inspect_token(self, token: object) -> TokenReport:
        return self._proxy.inspect_token(token).get()

    def end_session(self, *args: Any, **kwargs: Any) -> bool:
        return self._proxy.end_session(*args, **kwargs).get()

    def end_sessions(self, *args: Any, **kwargs: Any) -> int:
        return self._proxy.end_sessions(*args, **kwargs).get()

    def reset_key(self, *args: Any, **kwargs: Any) -> None:
        self._proxy.reset_key(*args, **kwargs).get()

    def rotate_key(self, *args: Any, **kwargs: Any) -> None:
        self._proxy.rotate_key(*args, **kwargs).get()

    def transaction(self) -> contextlib.AbstractContextManager[Transaction]:
        return keyturn.transaction(self.ref)

    def start(self, fresh: bool = False) -> None:
        self._proxy.resume(fresh).get()

    def stop(self) -> None:
        self._proxy.suspend().get()

    def destroy(self, purge: bool = False) -> None:
        self._proxy.destroy(purge).get()


class Awaited:
    """With `await`, each call in an event loop of its own."""

    def __init__(self, service: Service) -> None:
        self._service = AsyncService(service)
        self.transaction = service.transaction

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            async def awaited() -> Any:
                return await getattr(self._service, name)(*args, **kwargs)

            return asyncio.run(awaited())

        return call


WAYS: dict[str, type[Any]] = {
    "messages": ByMessages,
    "proxy": ByProxy,
    "handle": lambda service: service,  # type: ignore[dict-item]
}

ALL_WAYS: dict[str, type[Any]] = {**WAYS, "awaited": Awaited}
"""For what can be awaited too."""
