"""Given a history, when a message comes, then these events: tests of a host, on real parts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pykka
from eventsourcing.domain import Aggregate
from msgspec import UNSET, UnsetType

from keyturn.actors.asking import ask
from keyturn.actors.key_writer import new_secret
from keyturn.actors.messages import Message, Subscribe
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.store_url import MEMORY
from keyturn.config.stores import open_event_log
from keyturn.domain import tokens
from keyturn.domain.claims import check_claims, check_expiry, check_subject
from keyturn.domain.errors import NotRunningError
from keyturn.domain.head import Head
from keyturn.domain.key_events import NewKeyEvent
from keyturn.domain.key_ring import unseal_key
from keyturn.domain.options import DEFAULT_EXPIRY, ManagerOptions
from keyturn.domain.stored_events import read_event
from keyturn.domain.tokens import SessionKey, SessionToken, SigningKey
from keyturn.projections.export import lines_of, read_lines
from keyturn.projections.head_reader import HeadReader
from keyturn.testing.clocked_service import ClockedService, ManualClock, serve
from keyturn.testing.events import (
    EventSpec,
    Generated,
    Outcome,
    Raised,
    compare,
    expectation,
    is_reply,
    spec_of,
    with_times,
)


class Replay:
    """A history that happened, a message, and what must come of it.

    Use one in a `with` block, or take the fixture `replay`. An error of `when` that no `then`
    looked at is raised in the end. The arguments are those of `open_service`.
    """

    _reply: object
    _error: Exception | None

    def __init__(
        self,
        *,
        name: str = "default",
        expiry: float | None = DEFAULT_EXPIRY,
        max_lifetime: float | None = None,
        rotate_every: float | None = None,
        overlap: int | None = None,
        aggregates: Collection[type[Aggregate]] = (),
        clock: ManualClock | None = None,
    ) -> None:
        self.clock = clock or ManualClock()
        self._options = ManagerOptions(
            name=name,
            expiry=expiry,
            max_lifetime=max_lifetime,
            rotate_every=rotate_every,
            overlap=overlap,
        )
        self._key_ring = KeyRing.ephemeral()
        self._log = open_event_log(MEMORY, aggregates=aggregates)
        self._service: ClockedService | None = None
        self._made_its_own_key = False
        self._subscribers: list[pykka.ActorRef[Any]] = []
        self._begin("the beginning", 0)

    @property
    def _name(self) -> str:
        return self._options.name

    @property
    def service(self) -> ClockedService:
        """The service under test: give it to the host's app."""
        if self._service is None:
            self._start()
        assert self._service is not None
        return self._service

    # --- given ---

    def given(self, *events: EventSpec) -> Self:
        """Let these events have happened, in this order.

        They are written to the log as another process would, one that shares it: so a manager
        whose keys were `Destroyed` is running, and finds out. A history that does not begin
        with `Generated` goes on from the key that the manager makes when it starts.
        """
        self._raise_unseen_error()
        begins = bool(events) and isinstance(events[0], Generated)
        if begins and self._made_its_own_key and self._head().position == 1:
            self._forget_own_key()
        keys = self._head().keys.draft()
        is_new = keys.version == 0
        if is_new and not begins:
            events = (Generated(), *events)
        for spec, at in with_times(
            events, self.clock(), after=None if is_new else keys.modified_on
        ):
            spec.happen(keys, new_secret(), self._key_ring, at)
            if self._service is None:  # before a history that ends with a destroy does
                self._log.append(keys)
                self._start()
        self._log.append(keys)
        self._begin("what was given", keys.version)
        self._tell_subscribers()
        return self

    def load(self, path: str | Path, name: str | None = None) -> Self:
        """Let the history of an export (`keyturn export`) have happened.

        Kinds, reasons, initiators, generations and times are those of the export. Its keys are
        sealed, and stay so: each generation has a key of its own here, see `token`.

        Args:
            path: the file.
            name: whose history, if there are several managers in it; None: the replay's.

        Raises:
            ExportError: the file is not a whole and unaltered export; `line` says where.
        """
        name = self._name if name is None else name
        is_new = self._head().position == int(self._made_its_own_key)
        if not is_new or (self._service is not None and name != self._name):
            raise ValueError("load a history first: something happened here already")
        with Path(path).open("rb") as file:
            events = [read_event(stored) for stored in read_lines(lines_of(file), None)]
        history = [spec_of(e, at=e.timestamp) for e in events if e.manager == name]
        if not history:
            names = ", ".join(sorted({repr(event.manager) for event in events})) or "nobody"
            raise ValueError(f"{path} has no history of manager {name!r}, only of {names}")
        self._options = replace(self._options, name=name)
        return self.given(*history)

    def token(
        self,
        generation: int | None = None,
        *,
        age: float | None = None,
        expiry: float | None | UnsetType = UNSET,
        subject: str | None = None,
        **claims: Any,
    ) -> SessionToken:
        """Mint a token of any generation there was, as old as you like.

        Args:
            generation: 1, 2, 3, …; None: the newest.
            age: how many seconds ago it was minted; None: just now, or with a key that ended,
                at its last moment.
            expiry: seconds that it lives from then on; None: for ever; not given: the default.
            subject: whose session it is; None: the node's.
            claims: the host's own claims.
        """
        begun, ended_at = self._find_generation(generation)
        born = self.clock() - (age or 0.0)
        if age is None and ended_at is not None:
            born = min(born, ended_at.timestamp())
        secret = unseal_key(
            self._key_ring, begun.sealed_key, self._name, begun.generation, begun.key_id
        )
        return tokens.mint(
            SigningKey(SessionKey(begun.generation, begun.key_id, secret)),
            issuer=self._key_ring.node_id,
            subject=self._key_ring.node_id if subject is None else check_subject(subject),
            began=begun.originator_version,
            now=born,
            expiry=self._options.expiry if expiry is UNSET else check_expiry(expiry),
            max_lifetime=self._options.max_lifetime,
            claims=check_claims(claims),
        )

    def subscriber(self, ref: pykka.ActorRef[Any]) -> Self:
        """Tell a host's own subscriber what happened so far, and all that follows.

        It is told the same events in the same order as one that subscribed before the first of
        them. They are in its inbox when `given` and `when` return: what you ask it then, it
        answers after them.
        """
        service = self.service
        for event in self._log.key_events(self._name):
            ref.tell(event)
        ask(service.manager, Subscribe(ref))
        self._subscribers.append(ref)
        return self

    # --- when ---

    def when(self, action: Message[Any] | Callable[[ClockedService], object]) -> Self:
        """Send a message to the manager, or call a function with the service."""
        self._raise_unseen_error()
        service = self.service
        self._begin(_named(action), self._head().position)
        try:
            if isinstance(action, Message):
                self._reply = ask(service.manager, action)
            else:
                self._reply = action(service)
        except Exception as error:  # noqa: BLE001 - then() says whether it is the right one
            self._error, self._is_error_seen = error, False
        self._tell_subscribers()
        return self

    # --- then ---

    @property
    def reply(self) -> Any:
        """What the manager replied, or the function returned."""
        return self._reply

    def then(self, *expected: EventSpec | type[Exception] | Any) -> Self:  # Any: a reply
        """Check that these events were recorded since `when`, in this order, and no others.

        A class of errors says that it raises such an error. `then()`: nothing was recorded, and
        nothing raised. One value of any other kind is the reply: see `then_reply`.
        """
        __tracebackhide__ = True
        if len(expected) == 1 and is_reply(expected[0]):
            return self.then_reply(expected[0])
        wanted = [expectation(one) for one in expected]
        self._is_error_seen = True
        if lines := compare(wanted, self._outcomes()):
            heading = f"after {self._what} (- expected, + happened):"
            raise AssertionError("\n".join([heading, *lines])) from self._error
        return self

    def then_reply(self, expected: object) -> Self:
        """Check what the manager replied, or the function returned."""
        __tracebackhide__ = True
        self._is_error_seen = True
        if self._error is not None or self._reply != expected:
            found = f"replies {self._reply!r}" if self._error is None else Raised(self._error)
            lines = f"  - replies {expected!r}\n  + {found}"
            raise AssertionError(f"after {self._what}:\n{lines}") from self._error
        return self

    # --- the end ---

    def close(self) -> None:
        """End the service. Raises the error of `when` that no `then` looked at."""
        if self._service is not None:
            self._service.close()
        self._log.close()
        self._raise_unseen_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_error_seen = self._is_error_seen or exc_value is not None
        self.close()

    def _start(self) -> None:
        self._made_its_own_key = self._head().position == 0
        self._service = serve(self._log, self._key_ring, self._options, self.clock)

    def _forget_own_key(self) -> None:
        """Let the history begin anew, as long as it is only the key of a manager's start."""
        if self._subscribers:
            raise ValueError("give a history that begins with Generated before its subscribers")
        self._log.remove(self._name)
        self.service.begin_anew()
        self._made_its_own_key = False

    def _begin(self, what: str, position: int) -> None:
        """Look from now on at what comes of this, behind this position of the log."""
        self._what, self._mark = what, position
        self._reply, self._error = None, None
        self._is_error_seen = True

    def _head(self) -> Head:
        return HeadReader(self._log, self._name, self._key_ring.node_id).get()

    def _outcomes(self) -> list[Outcome]:
        events = self._log.key_events(self._name, after=self._mark)
        raised = [] if self._error is None else [Raised(self._error)]
        return [*map(spec_of, events), *raised]

    def _tell_subscribers(self) -> None:
        """Have the manager look at the log now, and tell: it does when somebody subscribes."""
        for ref in self._subscribers:
            with suppress(NotRunningError):
                ask(self.service.manager, Subscribe(ref))

    def _find_generation(self, generation: int | None) -> tuple[NewKeyEvent, datetime | None]:
        """Return the event that made a generation's key, and when the next one ended it."""
        _ = self.service
        ended_at = None
        for event in self._log.key_events(self._name, newest_first=True):
            if isinstance(event, NewKeyEvent) and generation in (None, event.generation):
                return event, ended_at
            ended_at = event.timestamp
        raise ValueError(f"there was no generation {generation} of manager {self._name!r}")

    def _raise_unseen_error(self) -> None:
        if self._error is not None and not self._is_error_seen:
            self._is_error_seen = True
            raise self._error


def _named(action: object) -> str:
    """Return what to call a message or a function in a failure."""
    if isinstance(action, Message):
        return repr(action)
    name: str = getattr(action, "__qualname__", repr(action))
    return name.rpartition(".<locals>.")[2]
