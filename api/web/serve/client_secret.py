"""Who may use the endpoints that make, read and end tokens: who knows the client secret.

It must never log or answer with what was sent as a secret.
"""

from __future__ import annotations

import base64
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from urllib.parse import unquote_plus

from keyturn.config.logging import get_logger
from keyturn.config.os_errors import reason
from keyturn.config.secret_file import read_trusted_file
from keyturn.domain.errors import SettingsError
from keyturn.web.answers import ErrorAnswer, RequestRefusedError

MIN_LENGTH = 32
"""Characters: shorter ones might be guessed."""

_LIMIT, _SECONDS = 10, 60
"""How many wrong ones may come within how many seconds."""

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

    It may be a link, and root's, as container secrets are. What somebody else could write, or
    lead elsewhere, is refused.

    Raises:
        SettingsError: the file cannot be used.
    """
    try:
        content, mode = read_trusted_file(path)
    except OSError as error:
        raise _unusable(path, reason(error)) from error
    if not content.isascii():
        raise _unusable(path, "is not ASCII")
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if not lines or any(len(line) < MIN_LENGTH for line in lines):
        raise _unusable(path, f"a secret has at least {MIN_LENGTH} characters, one a line")
    if mode & 0o004:
        get_logger().warning("everybody here can read the client secret", path=str(path))
    return ClientSecrets(tuple(sha256(line).digest() for line in lines))


class ClientGuard:
    """Lets in who knows a client secret.

    A right secret is always let in, so that a client with an old one does not shut the others
    out; a secret cannot be guessed anyway. Wrong ones beyond the limit are answered with 429, and
    are not logged.

    Args:
        secrets: those that are good.
    """

    def __init__(self, secrets: ClientSecrets) -> None:
        self._secrets = secrets
        self._failures: deque[float] = deque(maxlen=_LIMIT)

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
        now = time.monotonic()
        if len(self._failures) == _LIMIT and now - self._failures[0] < _SECONDS:
            retry = {"Retry-After": str(_SECONDS)}
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
    if kind.lower() == "bearer":
        return [rest.strip()]
    if kind.lower() != "basic":
        return []
    try:
        secret = base64.b64decode(rest, validate=True).decode("utf-8").partition(":")[2]
    except ValueError:
        return []
    return [secret, unquote_plus(secret)]  # RFC 6749, section 2.3.1, encodes it


def _unusable(path: Path, why: str) -> SettingsError:
    message = f"the client secret file {path} cannot be used: {why}"
    return SettingsError(message, key="client_secret_file", source=str(path))
