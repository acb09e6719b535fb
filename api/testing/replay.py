"""Given a history, when a message comes, then these events: tests of a host, on real parts."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pykka
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import StoredEvent
from msgspec import UNSET, UnsetType

from keyturn.actors.asking import ask
from keyturn.actors.messages import Message, Subscribe
from keyturn.domain.errors import NotRunningError
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.options import DEFAULT_EXPIRY, ManagerOptions
from keyturn.domain.session_keys import EVENT_CLASSES
from keyturn.domain.stored_events import read_event
from keyturn.domain.tokens import SessionToken
from keyturn.testing import actions, histories, replies
from keyturn.testing.clocked_service import ClockedService
from keyturn.testing.comparing import Dated, Outcome, Raised, compare, expectation, is_reply
from keyturn.testing.events import EventSpec, spec_of
from keyturn.testing.faults import Fault, Faults
from keyturn.testing.manual_clock import ManualClock
from keyturn.testing.past_tokens import mint_past_token
from keyturn.testing.workbench import Workbench

if TYPE_CHECKING:
    from keyturn.testing.async_service import ClockedAsyncService

Action = (
    Message[Any]
    | Awaitable[object]
    | Callable[[], object]
    | Callable[[ClockedService], object]
    | Callable[["ClockedAsyncService"], Awaitable[object]]
)
"""What `Replay.when` runs."""


class Replay:
    """A history that happened, an action, and what must come of it.

    Use one in a `with` block, or take the fixture `replay`. An error of `when` that no `then`
    looked at is raised in the end. The arguments are those of `open_service`.
    """

    update_snapshots = False
    """Whether `then_snapshot` writes its files anew: the fixture knows."""

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
        options = ManagerOptions(
            name=name,
            expiry=expiry,
            max_lifetime=max_lifetime,
            rotate_every=rotate_every,
            overlap=overlap,
        )
        self._bench = Workbench(options, clock, aggregates)
        self._other = self._bench.other
        self._async_service: ClockedAsyncService | None = None
        self._subscribers: list[pykka.ActorRef[Any]] = []
        self._later: Awaitable[object] | None = None
        self._begin("the beginning")

    @property
    def clock(self) -> ManualClock:
        """The time that decides about expiry."""
        return self._bench.clock

    @property
    def faults(self) -> Faults:
        """What goes wrong with the service: `replay.faults.down()`."""
        return self.service.faults

    def broken_store(self) -> Fault:
        """Have the store be down in a `with` block: `faults` has this and more."""
        return self.faults.down()

    @property
    def service(self) -> ClockedService:
        """The service under test: give it to the host's app."""
        return self._bench.service

    @property
    def async_service(self) -> ClockedAsyncService:
        """The same service, for an app that awaits."""
        if self._async_service is None:
            from keyturn.testing.async_service import ClockedAsyncService  # loads asyncio

            self._async_service = ClockedAsyncService(self.service)
        return self._async_service

    # --- given ---

    def given(self, *events: EventSpec) -> Self:
        """Let these events have happened, in this order.

        They are written to the log as another process would, one that shares it: so a manager
        whose keys were `Destroyed` is running, and finds out. A history that does not begin
        with `Generated` goes on from the key that the manager makes when it starts.
        """
        self._settle_what_was()
        is_looked_at = self._is_looked_at or not self._outcomes()
        self._bench.happen(*events)
        if is_looked_at:
            self._begin("what was given")
        self._tell_subscribers()
        return self

    def load(self, path: str | Path, name: str | None = None) -> Self:
        """Let the history of an export (`keyturn export`, or `save`) have happened.

        Kinds, reasons, initiators, generations and times are those of the export. Its keys are
        sealed, and stay so: each generation has a key of its own here, see `token`.

        Args:
            path: the file.
            name: whose history alone, and of the manager under test from now on; None: those of
                all managers in it.

        Returns:
            This replay.

        Raises:
            ExportError: the file is not a whole and unaltered export; `line` says where.
        """
        own = self._other.own if name is None else name
        is_used = len(self._other.rows()) > int(self._bench.has_only_its_own_key)
        if is_used or (self._bench.started is not None and own != self._other.own):
            raise ValueError("load a history first: something happened here already")
        exported = histories.read_export(path, own, alone=name is not None)
        self._bench.fill(list(histories.with_other_keys(exported, self._other.key_ring)), own)
        self._begin("what was given")
        return self

    def save(self, path: str | Path) -> Self:
        """Write the whole history as an export, for `load`."""
        histories.write_export(path, self._other)
        return self

    def token(
        self,
        generation: int | None = None,
        *,
        age: float | None = None,
        expiry: float | None | UnsetType = UNSET,
        subject: str | None = None,
        **claims: Any,
    ) -> SessionToken:
        """Return a token of any generation there was, as old as you like.

        Args:
            generation: 1, 2, 3, …; None: the newest.
            age: how many seconds ago it was minted; None: just now, or with a key that ended,
                at its last moment.
            expiry: seconds that it lives from then on; None: for ever; not given: the default.
            subject: whose session it is; None: the node's.
            claims: the host's own claims.
        """
        options = self.service.parts.options
        return mint_past_token(self._other, options, generation, age, expiry, subject, claims)

    def subscriber(self, ref: pykka.ActorRef[Any]) -> Self:
        """Tell a host's own subscriber what happened so far, and all that follows.

        It is told the same events in the same order as one that subscribed before the first of
        them. They are in its inbox when `given` and `when` return: what you ask it then, it
        answers after them.
        """
        service = self.service
        for event in self._other.log.key_events(self._other.own):
            ref.tell(event)
        ask(service.manager, Subscribe(ref))
        self._subscribers.append(ref)
        self._bench.has_told_others = True
        return self

    # --- when ---

    def when(self, action: Action) -> Self:
        """Send a message to the manager, or call a function of the host.

        A function takes nothing, or the service. One that is async is awaited:
        `await replay.when(app.theft)`; it takes nothing, or the `async_service`.

        Raises:
            TypeError: it cannot be run, or would do nothing.
        """
        actions.check_action(action)
        self._settle_what_was()
        service = self.service
        self._begin(actions.name_of(action))
        call = self._call_of(action, service)
        with self._noting_errors():
            self._reply = call()
        actions.check_result(action, self._reply)
        if inspect.isawaitable(self._reply):
            self._later, self._reply = self._reply, None
            if not actions.has_event_loop():
                self._require_awaited()
        self._tell_subscribers()
        return self

    def _call_of(self, action: Any, service: ClockedService) -> Callable[[], object]:
        if isinstance(action, Message):
            return lambda: ask(service.manager, action)
        if inspect.isawaitable(action):
            return lambda: action
        if not actions.takes_service(action):
            call: Callable[[], object] = action
            return call
        handle = self.async_service if inspect.iscoroutinefunction(action) else service
        return lambda: action(handle)

    def __await__(self) -> Generator[Any, None, Self]:
        """Wait for what an async function of `when` does."""
        return self._awaited().__await__()

    async def _awaited(self) -> Self:
        later, self._later = self._later, None
        if later is not None:
            with self._noting_errors():
                self._reply = await later
            self._tell_subscribers()
        return self

    # --- then ---

    @property
    def reply(self) -> Any:
        """What the manager replied, or the function returned."""
        self._require_awaited()
        return self._reply

    def then(self, *expected: EventSpec | type[Exception] | Any) -> Self:  # Any: a reply
        """Check that these events were recorded since `when`, in this order, and no others.

        Those of every manager of the log count, but not what was given. A class of errors says
        that it raises such an error. `then()`: nothing was recorded, and nothing raised. One
        value of any other kind is the reply: see `then_reply`.
        """
        __tracebackhide__ = True
        self._require_awaited()
        if len(expected) == 1 and is_reply(expected[0]):
            return self.then_reply(expected[0])
        own, now = self._other.own, self.clock()
        wanted = [expectation(one, own=own, now=now) for one in expected]
        self._is_error_seen = self._is_looked_at = True
        if lines := compare(wanted, self._outcomes()):
            heading = f"after {self._what} (- expected, + happened):"
            raise AssertionError("\n".join([heading, *lines])) from self._error
        return self

    def then_reply(self, expected: object) -> Self:
        """Check what the manager replied, or the function returned: a value, or a `Token`."""
        __tracebackhide__ = True
        self._require_awaited()
        self._is_error_seen = True
        if self._error is not None:
            lines = [f"  - replies {expected!r}", f"  + {Raised(self._error)}"]
        else:
            lines = replies.differences(expected, self._reply, self.service)
        if lines:
            raise AssertionError("\n".join([f"after {self._what}:", *lines])) from self._error
        return self

    def then_snapshot(self, path: str | Path) -> Self:
        """Check that the whole history, what was given included, is that of a file.

        `pytest --keyturn-update` (or `--snapshot-update`) writes the file.
        """
        __tracebackhide__ = True
        self._settle_what_was()
        events = _key_events(self._other.rows())
        lines = histories.snapshot_lines(events, self._other.own)
        update = self.update_snapshots
        if problems := histories.compare_snapshot(Path(path), lines, update=update):
            raise AssertionError("\n".join(problems))
        return self

    # --- the end ---

    def close(self) -> None:
        """End the service. Raises what no `then` looked at, and what did not happen."""
        self._bench.close()
        self._settle_what_was()
        self._bench.faults.check_all_happened()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self.close()
        except Exception:
            if exc_info[0] is None:
                raise

    # --- what came of it ---

    def _begin(self, what: str) -> None:
        """Look from now on at what comes of this."""
        self._what = what
        self._reply = None
        self._error = None
        self._is_error_seen = True
        self._is_looked_at = False
        self._bench.door.written.clear()

    @contextmanager
    def _noting_errors(self) -> Iterator[None]:
        """Note an error of an action: `then` says whether it is the right one."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever the host raises
            self._error, self._is_error_seen = error, False

    def _outcomes(self) -> list[Outcome]:
        outcomes: list[Outcome] = [
            Dated(spec_of(event, own=self._other.own), event.timestamp)
            for event in _key_events(self._bench.door.written)
        ]
        return outcomes if self._error is None else [*outcomes, Raised(self._error)]

    def _tell_subscribers(self) -> None:
        """Have the manager look at the log now, and tell: it does when somebody subscribes."""
        for ref in self._subscribers:
            with suppress(NotRunningError):
                ask(self.service.manager, Subscribe(ref))

    def _settle_what_was(self) -> None:
        """Raise what a test forgot to look at, before it goes on."""
        self._require_awaited()
        if self._error is not None and not self._is_error_seen:
            self._is_error_seen = True
            raise self._error

    def _require_awaited(self) -> None:
        later, self._later = self._later, None
        if later is not None:
            raise actions.not_awaited(self._what, later)


def _key_events(rows: Iterable[StoredEvent]) -> Iterator[KeyEvent]:
    """Yield the events of keys: a host may keep others in the same log."""
    return (read_event(row) for row in rows if row.topic in EVENT_CLASSES)
