"""Who may use the endpoints that make, read and end tokens: who knows the client secret.

It must never log or answer with what was sent as a secret.
"""

from __future__ import annotations

import base64
import binascii
import stat
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from urllib.parse import unquote_plus

from keyturn.config import files
from keyturn.config.files import WiderMode
from keyturn.config.logging import get_logger
from keyturn.domain.errors import SettingsError
from keyturn.web.answers import ErrorAnswer, RequestRefusedError

MIN_LENGTH = 32
"""Characters: shorter ones might be guessed."""

_FILE_LIMIT = 4096
_REALM = {"WWW-Authenticate": 'Basic realm="keyturn", charset="UTF-8"'}


@dataclass(frozen=True, slots=True)
class ClientSecrets:
    """The secrets of clients: several while they are being changed.

    Attributes:
        digests: SHA-256 of each.
    """

    digests: tuple[bytes, ...] = field(repr=False)

    def include(self, given: str) -> bool:
        """Return whether this is one of them; it takes the same time for all that are not."""
        digest = sha256(given.encode("utf-8", "surrogatepass")).digest()
        return sum(compare_digest(digest, known) for known in self.digests) > 0


def read_client_secrets(path: Path) -> ClientSecrets:
    """Return the secrets in a file: one a line, each of at least 32 printable ASCII characters.

    Like a password file it may be a link, and root's (container secrets are). What somebody else
    may write is refused.

    Raises:
        SettingsError: the file cannot be used.
    """
    try:
        resolved = path.resolve()
        content = files.read_private(resolved, limit=_FILE_LIMIT, wider_mode=WiderMode.IGNORE)
        mode = stat.S_IMODE(resolved.stat().st_mode)
        lines = [line.strip() for line in content.decode("ascii").splitlines() if line.strip()]
    except (
        OSError,
        UnicodeDecodeError,
        RuntimeError,
    ) as error:  # RuntimeError: links in a circle
        why = getattr(error, "strerror", None) or "is not ASCII, or a link in a circle"
        raise _unusable(path, why) from None  # a UnicodeDecodeError holds the secret
    if mode & 0o022:
        raise _unusable(path, f"others can write to it (mode {mode:04o}): run chmod 600 on it")
    if not lines or any(len(line) < MIN_LENGTH for line in lines):
        raise _unusable(path, f"a secret has at least {MIN_LENGTH} characters, one a line")
    if mode & 0o004:
        get_logger().warning("everybody here can read the client secret", path=str(path))
    return ClientSecrets(tuple(sha256(line.encode()).digest() for line in lines))


class ClientGuard:
    """Lets in who knows a client secret.

    A right secret is always let in, so that a client with an old one does not shut the others
    out; a secret cannot be guessed anyway. Wrong ones beyond the limit are answered with 429, and
    are not logged.

    Args:
        secrets: those that are good.
        limit: how many wrong ones may come within `seconds`.
        seconds: of the limit.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        secrets: ClientSecrets,
        limit: int = 10,
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secrets = secrets
        self._failures: deque[float] = deque(maxlen=limit)
        self._limit = limit
        self._seconds = seconds
        self._clock = clock

    def admit(self, headers: Mapping[str, str]) -> None:
        """Do nothing for a client with a good secret (HTTP Basic, or Bearer).

        Args:
            headers: of the request, by lower-case name.

        Raises:
            RequestRefusedError: with 401, or 429.
        """
        authorization = headers.get("authorization", "")
        if any(self._secrets.include(given) for given in _given(authorization)):
            return
        now = self._clock()
        if len(self._failures) == self._limit and now - self._failures[0] < self._seconds:
            retry = {"Retry-After": f"{self._seconds:.0f}"}
            why = "too many wrong client secrets: try again later"
            raise RequestRefusedError(ErrorAnswer(429, "too_many_requests", why, retry))
        if authorization:
            self._failures.append(now)
            get_logger().warning("a wrong client secret was refused")
        why = "this needs the client secret, as HTTP Basic or Bearer"
        raise RequestRefusedError(ErrorAnswer(401, "invalid_client", why, _REALM))


def _given(authorization: str) -> list[str]:
    """Return what a header may mean as a secret."""
    kind, _, rest = authorization.partition(" ")
    match kind.lower():
        case "bearer":
            return [rest.strip()]
        case "basic":
            try:
                text = base64.b64decode(rest, validate=True).decode("utf-8")
            except (binascii.Error, ValueError):
                return []
            secret = text.partition(":")[2]
            return [secret, unquote_plus(secret)]  # RFC 6749, section 2.3.1, encodes it
        case _:
            return []


def _unusable(path: Path, why: str) -> SettingsError:
    message = f"the client secret file {path} cannot be used: {why}"
    return SettingsError(message, key="client_secret_file", source=str(path))
