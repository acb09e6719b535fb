"""Where everything meets: settings, key ring, anchor, log and session manager."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from functools import partial
from pathlib import Path

from eventsourcing.domain import Aggregate
from msgspec import UNSET, UnsetType

from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.session_manager import SessionManager
from keyturn.config import files
from keyturn.config.anchor import Anchor
from keyturn.config.clock import Clock, steady_time
from keyturn.config.event_log import EventLog
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.logging import HostLogger
from keyturn.config.os_errors import reason
from keyturn.config.settings import Settings, find_password
from keyturn.config.store_url import MEMORY, StoreURL, shown
from keyturn.config.stores import has_log, open_log
from keyturn.config.timed_key_ring import timed
from keyturn.domain.errors import (
    KeyRingNotFoundError,
    KeyRingPermissionError,
    LogNotFoundError,
    LogRolledBackError,
    PasswordRequiredError,
    SettingsError,
)
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.secret import Password, Secret, hidden
from keyturn.service import Service

_FIRST_START = 30.0
"""Seconds to wait for another process that is making the key ring."""


def open(  # noqa: A001 - as keyturn.open
    settings: Settings | None = None,
    *,
    password: Password | UnsetType = UNSET,
    path: str | Path | UnsetType = UNSET,
    store: str | UnsetType = UNSET,
    anchor: str | Path | UnsetType = UNSET,
    name: str | UnsetType = UNSET,
    expiry: float | None | UnsetType = UNSET,
    max_lifetime: float | None | UnsetType = UNSET,
    rotate_every: float | None | UnsetType = UNSET,
    overlap: int | None | UnsetType = UNSET,
    initiator: str | UnsetType = UNSET,
    trust_log: bool | UnsetType = UNSET,
    create: bool = True,
    fresh: bool = False,
    accept_rollback: bool = False,
    key_ring: KeyRingLike | None = None,
    aggregates: Collection[type[Aggregate]] = (),
    host_topics: Collection[str] = (),
    clock: Clock = steady_time,
    logger: HostLogger | None = None,
) -> Service:
    """Open a service: its key ring, its log and its session manager.

    Makes what is missing, unless it is told not to.

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
        trust_log: take a log that has a history, but that this node has never seen, as it is:
            for a second machine, or one that keeps no anchor. It resets nothing.
        create: whether to make what is missing: key ring, log and manager, of this name or of
            those that `named` is asked for. False is what a server wants.
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
        ManagerNotFoundError: the log has no such manager, and none is to be made.
        SessionManagerDestroyedError: it was destroyed, and is not to be made anew.
        AnchorError: the anchor is damaged or another node's.
    """
    if password is not UNSET:
        password = hidden(password)
    store = StoreURL(store) if isinstance(store, str) else store
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
        "trust_log": trust_log,
    }
    if settings is not None and not isinstance(settings, Settings):
        message = f"settings are a keyturn.Settings; a folder is given as path={settings!r}"
        raise SettingsError(message, key="settings", source="the arguments")
    known = Settings.load(explicit) if settings is None else settings.replace(explicit)
    is_first_start = True
    if key_ring is not None:
        key_ring = timed(key_ring, known.lock_timeout)
    elif known.store_url == MEMORY and known.path is None:
        key_ring = KeyRing.ephemeral()
    else:
        found = find_password(known, password)
        key_ring, is_first_start = open_key_ring(known, found, create=create)
    if not create and not has_log(known.store_url):
        raise no_log(known)
    anchor_file = (
        None if known.store_url == MEMORY else Anchor(known.anchor_path, key_ring.node_id)
    )

    log = open_log(known, aggregates=aggregates, host_topics=host_topics)
    try:
        if anchor_file is not None and not is_first_start and not accept_rollback:
            _refuse_emptied_log(log, anchor_file, known)
        parts = ManagerParts(
            log,
            key_ring,
            known.manager_options(),
            anchor=anchor_file,
            clock=clock,
            logger=logger,
        )
        return Service(
            parts,
            log,
            partial(SessionManager.start_on, trust_log=known.trust_log),
            create=create,
            fresh=fresh,
            accept_rollback=accept_rollback,
            lock_timeout=known.lock_timeout,
        )
    except BaseException:
        log.close()
        raise


def open_key_ring(
    settings: Settings, password: Secret[str] | None | UnsetType, *, create: bool = True
) -> tuple[KeyRing, bool]:
    """Return the key ring of the data folder, and whether it was made just now."""
    path = settings.key_ring_path
    known_password = None if password is UNSET else password
    open_it = partial(KeyRing.open, path, known_password, group_readable=settings.group_readable)
    try:
        return open_it(), False
    except KeyRingNotFoundError:
        if not create:
            refuse_lost_key_ring(settings)
            raise
    if password is UNSET:  # so nothing is made, no lock either
        refuse_lost_key_ring(settings)
        message = (
            f"a new key ring at {path} needs a password (KEYTURN_PASSWORD, or the argument "
            "`password`); password=None makes one without"
        )
        raise PasswordRequiredError(message, path=str(path))
    try:
        # Of several first starts one makes it, with its anchor, and the others wait for that.
        with files.locked(settings.data_folder / "first-start", timeout=_FIRST_START):
            with contextlib.suppress(KeyRingNotFoundError):
                return open_it(), False
            return _make_key_ring(settings, password), True
    except OSError as error:
        message = f"{path} cannot be made: {reason(error)}"
        raise KeyRingPermissionError(message, path=str(path)) from error


def no_log(settings: Settings) -> LogNotFoundError:
    """Return the error for a log that should be there and is not."""
    place = shown(settings.store_url)
    what = "make one with `keyturn init`"
    if settings.store_url == MEMORY:
        what = "one in memory is always new"
    elif not Anchor.is_blank(settings.anchor_path):
        what = f"the anchor {settings.anchor_path} has seen one: put it back"
    return LogNotFoundError(f"there is no log at {place}: {what}", location=place)


def refuse_lost_key_ring(settings: Settings) -> None:
    """Raise for a key ring that is gone, if a log or an anchor needs the one it was made with."""
    path, place = settings.key_ring_path, str(settings.anchor_path)
    if Anchor.is_blank(settings.anchor_path):
        place = shown(settings.store_url)
        if not has_log(settings.store_url):
            return
    raise KeyRingNotFoundError(
        f"there is no key ring at {path}, but {place} is there and needs the one it was made "
        "with: put back a backup of the key ring. If that is lost for good, move log and anchor "
        "away and begin anew: docs/operations.md says how",
        path=str(path),
    )


def _make_key_ring(settings: Settings, password: Secret[str] | None) -> KeyRing:
    refuse_lost_key_ring(settings)
    ring = KeyRing.ephemeral()
    # The anchor first: a key ring without an anchor means that there was a log.
    if settings.store_url != MEMORY:
        Anchor(settings.anchor_path, ring.node_id).create()
    ring.save(settings.key_ring_path, password)
    return ring


def _refuse_emptied_log(log: EventLog, anchor: Anchor, settings: Settings) -> None:
    """A key ring was used before: without an anchor an empty log is one that lost everything."""
    if not anchor.exists() and log.owner() is None:
        raise LogRolledBackError(
            f"the log {log.location} is empty and the anchor {settings.anchor_path} is gone, but "
            f"the key ring {settings.key_ring_path} was in use: put the log back, or accept an "
            "empty one with accept_rollback=True (--accept-rollback)",
            location=log.location,
        )
