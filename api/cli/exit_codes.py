"""Which exit code an error has on the command line: those of sysexits.h."""

from __future__ import annotations

import os

from keyturn.domain import errors

REFUSED = 1
"""Not an error: the token is not good."""

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (TimeoutError, os.EX_TEMPFAIL),
    (errors.TokenRefusedError, REFUSED),
    (errors.SettingsError, os.EX_CONFIG),
    (errors.OverlapLimitError, os.EX_TEMPFAIL),
    (errors.KeyRingNotFoundError, os.EX_NOINPUT),
    (errors.PasswordRequiredError, os.EX_CONFIG),
    (errors.KeyRingExistsError, os.EX_CANTCREAT),
    (errors.KeyRingPermissionError, os.EX_NOPERM),
    (errors.KeyRingUnavailableError, os.EX_IOERR),
    (errors.WrongPasswordError, os.EX_NOPERM),
    (errors.KeyRingError, os.EX_DATAERR),
    (errors.LogNotFoundError, os.EX_NOINPUT),
    (errors.ManagerNotFoundError, os.EX_NOINPUT),
    (errors.LogConflictError, os.EX_TEMPFAIL),
    (errors.TransactionConflictError, os.EX_TEMPFAIL),
    (errors.LogUnavailableError, os.EX_IOERR),
    (errors.LogError, os.EX_DATAERR),
    (errors.AnchorError, os.EX_DATAERR),
    (errors.CheckpointError, os.EX_DATAERR),
    (errors.ExportError, os.EX_DATAERR),
    (errors.TokenFileLockedError, os.EX_TEMPFAIL),
    (errors.TokenFileError, os.EX_IOERR),
    (errors.LifecycleError, os.EX_UNAVAILABLE),
    (errors.NoThreadError, os.EX_OSERR),
    (ValueError, os.EX_USAGE),  # an argument of a call is bad, so one of the command
)


def exit_code(error: Exception) -> int:
    """Return the exit code for an error of Keyturn."""
    if isinstance(error, errors.LogUnavailableError) and error.is_busy:
        return os.EX_TEMPFAIL
    return next((code for kind, code in _CODES if isinstance(error, kind)), os.EX_SOFTWARE)
