"""What a session manager is made of: its actor and the handle share it."""

from __future__ import annotations

from keyturn.actors.activity import Activity
from keyturn.actors.lifecycle import Lifecycle
from keyturn.actors.subscriptions import Subscriptions
from keyturn.actors.token_inspector import TokenInspector
from keyturn.actors.token_issuer import TokenIssuer
from keyturn.actors.transaction import Transaction
from keyturn.config.anchor import Anchor
from keyturn.config.clock import Clock, steady_time
from keyturn.config.logging import HostLogger, Logger, safe
from keyturn.config.timed_key_ring import timed
from keyturn.domain.errors import (
    SessionManagerDestroyedError,
    SessionManagerNotRunningError,
    SessionManagerRunningError,
    TransactionClosedError,
)
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.options import ManagerOptions
from keyturn.domain.tokens import KeySet
from keyturn.projections.head_reader import HeadReader

KEY_RING_TIMEOUT = 5.0
"""Seconds to wait for a host's key ring unless somebody says otherwise."""


class ManagerParts:
    """The parts of one manager. They outlive an actor that is started again.

    Nothing is read when they are put together.

    Args:
        log: where changes are recorded.
        key_ring: identity and sealing key.
        options: the manager's name, and how it makes tokens.
        anchor: remembers where the log ended; None: nothing does.
        clock: the time that decides about expiry.
        logger: of everything about this manager.

    Attributes:
        lifecycle: running, stopped, destroyed.
        subscriptions: who is told of events.
        activity: what was done with all these, counted.
        reader: the head of the manager's stream.
        tokens: makes and checks tokens.
        inspector: looks tokens up in the history.
    """

    def __init__(
        self,
        log: KeyLog,
        key_ring: KeyRingLike,
        options: ManagerOptions,
        *,
        anchor: Anchor | None = None,
        clock: Clock = steady_time,
        logger: HostLogger | Logger | None = None,
    ) -> None:
        self.log = log
        self.key_ring = timed(key_ring, KEY_RING_TIMEOUT)
        self.options = options
        self.name = options.name
        self.anchor = anchor
        self.clock = clock
        self.logger = safe(logger).bind(manager=self.name)
        self.lifecycle = Lifecycle(
            f"session manager {self.name!r}",
            SessionManagerRunningError,
            SessionManagerNotRunningError,
            SessionManagerDestroyedError,
        )
        self.subscriptions = Subscriptions(self.logger)
        self.activity = Activity()
        self.reader = HeadReader(
            log,
            self.name,
            self.key_ring.node_id,
            key_ring=self.key_ring,
            anchor=anchor,
            on_events=self.subscriptions.news.append,
            after_events=self.subscriptions.notify,
        )
        self.tokens = TokenIssuer(
            self.reader,
            self.lifecycle,
            options,
            self.key_ring.node_id,
            clock,
            self.logger,
            self.activity,
        )
        self.inspector = TokenInspector(
            self.reader, self.lifecycle, options, log, self.key_ring, clock
        )

    def keys_of(self, tran: Transaction | None) -> KeySet | None:
        """Return the keys that a transaction sees; None, those of the current head, for none."""
        if tran is None:
            return None
        if not isinstance(tran, Transaction):
            raise TransactionClosedError(f"{type(tran).__name__} is no transaction: begin one")
        tran.require_open(self)
        return tran.key_set
