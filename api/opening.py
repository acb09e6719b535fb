"""Where everything meets: settings, key ring, anchor, log and session manager."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

import pykka
from eventsourcing.domain import Aggregate
from msgspec import UNSET, UnsetType

from keyturn.actors.session_manager import SessionManager
from keyturn.actors.subscriptions import Subscribers
from keyturn.config import files
from keyturn.config.anchor import Anchor
from keyturn.config.clock import Clock, steady_time
from keyturn.config.event_log import EventLog
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.logging import Logger, get_logger
from keyturn.config.settings import Settings, find_password
from keyturn.config.store_url import MEMORY, shown
from keyturn.config.stores import has_log, open_log
from keyturn.domain.errors import (
    KeyRingNotFoundError,
    KeyRingPermissionError,
    LogRolledBackError,
    PasswordRequiredError,
    SettingsError,
)
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.redaction import without_frames
from keyturn.service import Service

_FIRST_START = 30.0
"""Seconds to wait for another process that is making the key ring."""


@without_frames
def open(  # noqa: A001 - as keyturn.open
    settings: Settings | None = None,
    *,
    password: str | None | UnsetType = UNSET,
    path: str | Path | UnsetType = UNSET,
    store: str | UnsetType = UNSET,
    anchor: str | Path | UnsetType = UNSET,
    name: str | UnsetType = UNSET,
    expiry: float | None | UnsetType = UNSET,
    max_lifetime: float | None | UnsetType = UNSET,
    rotate_every: float | None | UnsetType = UNSET,
    overlap: int | None | UnsetType = UNSET,
    initiator: str | UnsetType = UNSET,
    fresh: bool = False,
    accept_rollback: bool = False,
    key_ring: KeyRingLike | None = None,
    aggregates: Collection[type[Aggregate]] = (),
    host_topics: Collection[str] = (),
    clock: Clock = steady_time,
    logger: Logger | None = None,
) -> Service:
    """Open a service: its key ring, its log and its session manager. Makes what is missing.

    Args:
        settings: where everything is; None: from the environment and the file that
            `KEYTURN_CONFIG` names. The arguments below that a setting has too go before it.
        password: of the key ring; None: explicitly none. Not given: `KEYTURN_PASSWORD`, or
            what `password_file` holds.
        path: the data folder.
        store: the URL of the log; with `memory:` and no path nothing is written anywhere.
        anchor: the file of the anchor.
        name: which manager of the log.
        expiry: seconds that a token lives; None: for ever.
        max_lifetime: seconds that a session lasts, however often refreshed; None: for ever.
        rotate_every: seconds after which the key is rotated with nobody asking; None: never.
        overlap: whole seconds that tokens under such a key stay good then; None: as long as a
            token lives.
        initiator: who is recorded for changes of keys.
        fresh: reset the key: no earlier token is good.
        accept_rollback: take the log as it is, although this node has seen another, and reset
            the key.
        key_ring: the host's own, instead of the file's.
        aggregates: classes of the host's own aggregates in the same log.
        host_topics: the topics of their events, for who does not have the classes.
        clock: the time that decides about expiry, in seconds since the epoch.
        logger: a structlog logger.

    Raises:
        SettingsError: a setting is unknown or bad.
        KeyRingError: the key ring cannot be opened; its subclasses say why.
        LogError: the log cannot be opened, or is not to be trusted; its subclasses say why.
        AnchorError: the anchor is damaged or another node's.
    """
    explicit: dict[str, object] = {
        "path": path,
        "store": store,
        "anchor": anchor,
        "name": name,
        "expiry": expiry,
        "max_lifetime": max_lifetime,
        "rotate_every": rotate_every,
        "overlap": overlap,
        "initiator": initiator,
    }
    if settings is not None and not isinstance(settings, Settings):
        message = f"settings are a keyturn.Settings; a folder is given as path={settings!r}"
        raise SettingsError(message, key="settings", source="the arguments")
    known = Settings.load(explicit) if settings is None else settings.replace(explicit)
    is_first_start = key_ring is not None
    if key_ring is None and known.store_url == MEMORY and known.path is None:
        key_ring = KeyRing.ephemeral()
    elif key_ring is None:
        key_ring, is_first_start = open_key_ring(known, find_password(known, password))
    rollback_guard = (
        None if known.store_url == MEMORY else Anchor(known.anchor_path, key_ring.node_id)
    )

    log = open_log(known, aggregates=aggregates, host_topics=host_topics)
    try:
        if rollback_guard is not None and not rollback_guard.exists() and not is_first_start:
            _check_log_without_anchor(log, known, accept_rollback, logger)

        def start_manager(
            name: str,
            replacing: Subscribers | None = None,
            *,
            fresh: bool = False,
            accept_rollback: bool = False,
        ) -> pykka.ActorRef[SessionManager]:
            return SessionManager.start(
                log,
                key_ring,
                known.expiry,
                name,
                fresh,
                logger,
                anchor=rollback_guard,
                accept_rollback=accept_rollback,
                max_lifetime=known.max_lifetime,
                rotate_every=known.rotate_every,
                overlap=known.overlap,
                initiator=known.initiator,
                clock=clock,
                subscribers=replacing,
                is_first_start=replacing is None,
            )

        first = start_manager(known.name, fresh=fresh, accept_rollback=accept_rollback)
        return Service(first, start_manager, log, known.name, rollback_guard, clock)
    except BaseException:
        log.close()
        raise


def open_key_ring(settings: Settings, password: str | None | UnsetType) -> tuple[KeyRing, bool]:
    """Return the key ring of the data folder, and whether it was made just now."""
    path = settings.key_ring_path
    known_password = None if password is UNSET else password
    with contextlib.suppress(KeyRingNotFoundError):
        return KeyRing.open(path, known_password), False
    if password is UNSET:  # so nothing is made, no lock either
        return _make_key_ring(settings, password), True
    try:
        # Of several first starts one makes it, with its anchor, and the others wait for that.
        with files.locked(settings.data_folder / "first-start", timeout=_FIRST_START):
            with contextlib.suppress(KeyRingNotFoundError):
                return KeyRing.open(path, known_password), False
            return _make_key_ring(settings, password), True
    except OSError as error:
        message = f"{path} cannot be made: {error.strerror}"
        raise KeyRingPermissionError(message, path=str(path)) from error


def _make_key_ring(settings: Settings, password: str | None | UnsetType) -> KeyRing:
    path = settings.key_ring_path
    for place, is_there in (
        (settings.anchor_path, not Anchor.is_blank(settings.anchor_path)),
        (shown(settings.store_url), has_log(settings.store_url)),
    ):
        if is_there:
            message = (
                f"there is no key ring at {path}, but {place} is there and needs the one it was "
                "made with: put back a backup of the key ring"
            )
            raise KeyRingNotFoundError(message, path=str(path))
    if password is UNSET:
        message = (
            f"a new key ring at {path} needs a password (KEYTURN_PASSWORD, or the argument "
            "`password`); password=None makes one without"
        )
        raise PasswordRequiredError(message, path=str(path))
    ring = KeyRing.ephemeral()
    # The anchor first: a key ring without an anchor means that there was a log.
    if settings.store_url != MEMORY:
        Anchor(settings.anchor_path, ring.node_id).create()
    ring.save(path, password)
    return ring


def _check_log_without_anchor(
    log: EventLog, settings: Settings, accept_rollback: bool, logger: Logger | None
) -> None:
    """A key ring was used before: without an anchor an empty log is one that lost everything."""
    if log.owner() is None and not accept_rollback:
        raise LogRolledBackError(
            f"the log {log.location} is empty and the anchor {settings.anchor_path} is gone, but "
            f"the key ring {settings.key_ring_path} was in use: put the log back, or accept an "
            "empty one with accept_rollback=True (--accept-rollback)",
            location=log.location,
        )
    (logger or get_logger()).warning(
        "no anchor: a log that was rolled back would not be noticed this time",
        anchor=str(settings.anchor_path),
    )
