"""What a session manager is made of: its actor and the handle share it."""

from __future__ import annotations

import os
import pwd
import socket
from dataclasses import dataclass

from keyturn.actors.activity import Activity
from keyturn.actors.lifecycle import Lifecycle, manager_lifecycle
from keyturn.actors.subscriptions import Subscriptions
from keyturn.actors.token_inspector import TokenInspector
from keyturn.actors.token_issuer import TokenIssuer
from keyturn.config.anchor import Anchor
from keyturn.config.clock import Clock, steady_time
from keyturn.config.logging import HostLogger, Logger, safe
from keyturn.config.timed_key_ring import timed
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.options import ManagerOptions
from keyturn.projections.head_reader import HeadReader

KEY_RING_TIMEOUT = 5.0
"""Seconds to wait for a host's key ring unless somebody says otherwise."""


@dataclass(frozen=True, eq=False)
class ManagerParts:
    """The parts of one manager. They outlive an actor that is started again.

    Attributes:
        log: where changes are recorded.
        key_ring: identity and sealing key.
        options: the manager's name, and how it makes tokens.
        anchor: remembers where the log ended; None: nothing does.
        clock: the time that decides about expiry.
        logger: of everything about this manager.
        lifecycle: running, stopped, destroyed.
        reader: the head of the manager's stream.
        tokens: makes and checks tokens.
        inspector: looks tokens up in the history.
        subscriptions: who is told of events.
        activity: what was done with all these, counted.
    """

    log: KeyLog
    key_ring: KeyRingLike
    options: ManagerOptions
    anchor: Anchor | None
    clock: Clock
    logger: Logger
    lifecycle: Lifecycle
    reader: HeadReader
    tokens: TokenIssuer
    inspector: TokenInspector
    subscriptions: Subscriptions
    activity: Activity

    @property
    def name(self) -> str:
        return self.options.name

    @classmethod
    def of(
        cls,
        log: KeyLog,
        key_ring: KeyRingLike,
        options: ManagerOptions,
        *,
        anchor: Anchor | None = None,
        clock: Clock = steady_time,
        logger: HostLogger | Logger | None = None,
    ) -> ManagerParts:
        """Put the parts of a manager together; nothing is read yet."""
        key_ring = timed(key_ring, KEY_RING_TIMEOUT)
        lifecycle = manager_lifecycle(options.name)
        logger = safe(logger).bind(manager=options.name)
        subscriptions = Subscriptions(logger)
        activity = Activity()
        reader = HeadReader(
            log,
            options.name,
            key_ring.node_id,
            key_ring=key_ring,
            anchor=anchor,
            on_events=subscriptions.news.append,
            after_events=subscriptions.notify,
        )
        return cls(
            log=log,
            key_ring=key_ring,
            options=options,
            anchor=anchor,
            clock=clock,
            logger=logger,
            lifecycle=lifecycle,
            reader=reader,
            tokens=TokenIssuer(
                reader,
                lifecycle,
                options,
                node_id=key_ring.node_id,
                clock=clock,
                logger=logger,
                activity=activity,
            ),
            inspector=TokenInspector(
                reader,
                lifecycle,
                log=log,
                key_ring=key_ring,
                manager=options.name,
                max_lifetime=options.max_lifetime,
                clock=clock,
            ),
            subscriptions=subscriptions,
            activity=activity,
        )


def user_at_host() -> str:
    """Return user@host of the operating system; behind sudo, the user who called it."""
    user = os.environ.get("SUDO_USER", "")
    if not user:
        try:  # of the system, and not LOGNAME, which anybody can set
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a user id without a name, in a container
            user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
