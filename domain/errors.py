"""Every error that Keyturn raises, each with its facts as attributes.

A message says what was wrong, with which thing, and what to do. None ever holds a password,
a key or a token: the text of an exception ends up in logs.
"""

from __future__ import annotations

import enum
from dataclasses import InitVar, dataclass
from datetime import datetime


class KeyturnError(Exception):
    """The base of every error of Keyturn."""


@dataclass(eq=False, repr=False)
class FactualError(KeyturnError):
    """An error that is made of a message, and of facts, which are its attributes."""

    message: InitVar[str]

    def __post_init__(self, message: str) -> None:
        super().__init__(message)


# --- node ids and the key ring -----------------------------------------------------------------


class NodeIdError(KeyturnError, ValueError):
    """A text that is not a node id."""


@dataclass(eq=False, repr=False, kw_only=True)
class KeyRingError(FactualError):
    """Something is wrong with a key ring. `path` names its file, if it has one."""

    path: str | None = None


class KeyRingNotFoundError(KeyRingError):
    """There is no key ring at this path."""


class KeyRingExistsError(KeyRingError):
    """There is a key ring at this path already; it is never overwritten."""


class KeyRingPermissionError(KeyRingError):
    """The file cannot be read, or others can read it too."""


class KeyRingUnavailableError(KeyRingError):
    """The file cannot be read or written now: a full or broken disk, too many open files."""


class KeyRingDamagedError(KeyRingError):
    """The file is not a whole and unaltered key ring."""


class KeyRingVersionError(KeyRingError):
    """The file was written by a newer version of Keyturn."""


class WrongPasswordError(KeyRingError):
    """The password is not the one of this key ring."""


class PasswordRequiredError(WrongPasswordError):
    """A password (or an explicit None, for none) is needed, and none was given."""


class SealError(KeyRingError):
    """A sealed key cannot be opened here: wrong key ring, wrong place in the log, or altered."""


class KeyRingTimeoutError(KeyRingError, TimeoutError):
    """A host's key ring did not answer in time. Nothing was changed."""


# --- the log -----------------------------------------------------------------------------------


@dataclass(eq=False, repr=False, kw_only=True)
class LogError(FactualError):
    """Something is wrong with the log. `location` names it, without any password."""

    location: str | None = None


@dataclass(eq=False, repr=False, kw_only=True)
class LogUnavailableError(LogError):
    """The log cannot be read or written now: locked, full, read-only, gone.

    `recorded` tells what became of the change that was being written: False, it was not
    recorded; True, it is in the log although the disk did not confirm it; None, nothing
    was being written or its fate is unknown. `is_busy`: others use it; trying again may do.
    """

    recorded: bool | None = None
    is_busy: bool = False


class StaleKeyError(LogUnavailableError):
    """The log cannot be read, and what is known of its keys may be out of date.

    Rather than trust a key that may have ended, no token is made or checked.
    """


class LogClosedError(LogError):
    """The log (or the service that owns it) was closed, or was opened before a fork."""


class LogNotFoundError(LogError):
    """There is no log at this place, and none was to be made."""


class LogConflictError(LogError):
    """Other writers were faster, more often than we were willing to try again."""


class NotAKeyturnLogError(LogError):
    """The file or table belongs to something else, or holds topics that are not ours."""


class LogNotEmptyError(LogError):
    """The log holds key events already; an export is loaded into an empty log only."""


@dataclass(eq=False, repr=False, kw_only=True)
class ForeignLogError(LogError):
    """The log belongs to another key ring. `expected` and `found` are node ids."""

    expected: str = ""
    found: str = ""


@dataclass(eq=False, repr=False, kw_only=True)
class LogDamagedError(LogError):
    """An event was altered: its encoding, signature or place is wrong.

    `position` says where, `what` in what, without the rest of the message.
    """

    position: int | None = None
    what: str = ""


class LogVersionError(LogDamagedError):
    """An event was written by a newer version of Keyturn."""


@dataclass(eq=False, repr=False, kw_only=True)
class LogRolledBackError(LogError):
    """The log ends before, or differs at, what this node has seen: an old copy was put back.

    `expected_position` is the last position seen, `found_position` where the log ends now.
    """

    expected_position: int = 0
    found_position: int = 0


class LogNotTrustedError(LogError):
    """The log has events, and this node has never seen it: it may be an old copy.

    It is taken as it is once with `trust_log=True` (`--trust-log`, `KEYTURN_TRUST_LOG`).
    """


@dataclass(eq=False, repr=False, kw_only=True)
class ManagerNotFoundError(FactualError):
    """The log has no manager of this name, and none was to be made.

    `name` is the one that was asked for, `managers` are those that there are.
    """

    name: str = ""
    managers: tuple[str, ...] = ()


@dataclass(eq=False, repr=False, kw_only=True)
class AnchorError(FactualError):
    """The anchor file is damaged, of another node, or cannot be read. `path` names it."""

    path: str | None = None


class FilterError(KeyturnError, ValueError):
    """Something that the history cannot be filtered by."""


class CheckpointError(KeyturnError, ValueError):
    """A line that is not a checkpoint, or not one of this node."""


@dataclass(eq=False, repr=False, kw_only=True)
class ExportError(FactualError, ValueError):
    """A file that is not a whole and unaltered export of this node. `line` says where."""

    line: int | None = None


class NodeIdRequiredError(KeyturnError, ValueError):
    """An audit was not told whose record it should be: a node id, or explicitly any node's."""


class TransactionConflictError(LogError):
    """The log moved while a transaction was open; nothing of it was written."""


class TransactionClosedError(KeyturnError):
    """The transaction was committed or discarded already, or is of another manager."""


# --- tokens ------------------------------------------------------------------------------------


class Refusal(enum.Enum):
    """Why a token is not good."""

    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown key"
    BAD_SIGNATURE = "bad signature"
    EXPIRED = "expired"
    REVOKED = "revoked"
    LIFETIME_EXCEEDED = "session too old"
    NOT_ISSUED_YET = "not issued yet"
    SESSION_ENDED = "session ended"
    TOO_LONG_AGO = "authenticated too long ago"


@dataclass(eq=False, repr=False, kw_only=True)
class TokenRefusedError(FactualError):
    """A token is not good. `reason` says why; the token itself is never shown.

    `key_id` is the `kid` that it names, if it has the shape of a token.
    """

    reason: Refusal = Refusal.MALFORMED
    key_id: str | None = None


@dataclass(eq=False, repr=False, kw_only=True)
class ClaimError(FactualError, ValueError):
    """A claim that cannot be put into a token. `claim` names it."""

    claim: str = ""


class DurationError(KeyturnError, ValueError):
    """What should be a finite number of seconds, and not a negative one, is something else."""


class ExpiryError(DurationError):
    """An expiry that is not a finite number of seconds ≥ 0, nor None; or no whole overlap."""


class SessionArgumentError(KeyturnError, ValueError):
    """What to end, or to keep, was not said in a way that can be carried out."""


@dataclass(eq=False, repr=False, kw_only=True)
class OverlapLimitError(FactualError):
    """Too many keys would overlap: wait until some have ended, or reset the key.

    `limit` is how many may overlap besides the current key; `until` is when the first of them
    ends.
    """

    limit: int = 0
    until: datetime | None = None


class BatchError(KeyturnError, ValueError):
    """A batch of tokens that is none, or is too large for one call."""


@dataclass(eq=False, repr=False, kw_only=True)
class AuditTextError(FactualError, ValueError):
    """A reason, initiator or manager name that cannot be recorded. `field` names it."""

    field: str = ""


# --- actors ------------------------------------------------------------------------------------


class LifecycleError(KeyturnError):
    """The actor is not in the state that this message needs."""


class RunningError(LifecycleError):
    """It is running, and must be stopped first."""


class NotRunningError(LifecycleError):
    """It is not running: it was stopped or destroyed."""


class DestroyedError(LifecycleError):
    """It was destroyed, for good."""


class SessionManagerRunningError(RunningError):
    """The session manager is running."""


class SessionManagerNotRunningError(NotRunningError):
    """The session manager is stopped or destroyed."""


class SessionManagerDestroyedError(DestroyedError, SessionManagerNotRunningError):
    """The session manager was destroyed, here or by another process on the same log."""


class SessionRunningError(RunningError):
    """The session is running."""


class SessionNotRunningError(NotRunningError):
    """The session is stopped or destroyed."""


class SessionDestroyedError(DestroyedError, SessionNotRunningError):
    """The session was destroyed."""


class NoThreadError(KeyturnError):
    """The system has no room for another thread; nothing was changed.

    Raise its limits (`ulimit -u`, the number of processes of a container), or use fewer.
    """

    def __init__(
        self,
        message: str = "the system has no room for another thread: raise its limit (ulimit -u, "
        "or the number of processes of the container)",
    ) -> None:
        super().__init__(message)


class UnknownMessageError(KeyturnError, TypeError):
    """A message that this actor has no handler for."""


class MessageFailedError(KeyturnError):
    """A handler failed in a way nobody foresaw; the actor started again from the log."""


# --- token files and settings ------------------------------------------------------------------


@dataclass(eq=False, repr=False, kw_only=True)
class TokenFileError(FactualError):
    """A token file cannot be read or written. `path` names it."""

    path: str | None = None


class TokenFileLockedError(TokenFileError):
    """Another process has held the file's lock for longer than we wait."""


@dataclass(eq=False, repr=False, kw_only=True)
class SettingsError(FactualError, ValueError):
    """A setting is unknown or has a bad value. `key` names it, `source` says where it stood."""

    key: str = ""
    source: str = ""
