"""The format of the key ring's file, and the password that protects it.

One JSON object, mode 0600:

    format    "keyturn key ring"
    version   1
    node_id   readable without the password
    kdf       {"name": "argon2id", "memory_kib", "iterations", "lanes", "salt"}, or
              {"name": "none"}
    secrets   base64url: nonce (12 bytes) and AES-256-GCM ciphertext of identity seed (32) and
              sealing key (32), everything above as associated data; with kdf "none" the
              plain 64 bytes
    checksum  SHA-256 of the rest: it tells damage from a wrong password, and protects nothing

Versions to come read every older version.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keyturn.config import files
from keyturn.config.os_errors import UNFIT_CONTENT, reason
from keyturn.config.ownership import safe_target
from keyturn.domain.errors import (
    KeyRingDamagedError,
    KeyRingError,
    KeyRingNotFoundError,
    KeyRingPermissionError,
    KeyRingUnavailableError,
    KeyRingVersionError,
    PasswordRequiredError,
    WrongPasswordError,
)
from keyturn.domain.node import decode_node_id
from keyturn.domain.secret import Secret

FORMAT = "keyturn key ring"
VERSION = 1
SECRETS_BYTES = 64
_LIMIT = 16 * 1024
_LOCK_TIMEOUT = 10.0
_NONCE_BYTES = 12
_SALT_BYTES = 16


class Kdf(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How the password becomes a key; the name "none" means that there is no password.

    The values for new files are the second recommended option of RFC 9106, section 4.
    """

    name: str
    memory_kib: int = 0
    iterations: int = 0
    lanes: int = 0
    salt: str = ""

    @classmethod
    def new(cls) -> Kdf:
        salt = _text(secrets.token_bytes(_SALT_BYTES))
        return cls("argon2id", memory_kib=64 * 1024, iterations=3, lanes=4, salt=salt)

    def is_sane(self) -> bool:
        """Bounds, since a crafted file could otherwise ask for terabytes of memory."""
        return (
            8 * self.lanes <= self.memory_kib <= 1024 * 1024
            and 1 <= self.iterations <= 32
            and 1 <= self.lanes <= 32
            and 8 <= len(_bytes(self.salt)) <= 64
        )

    def cipher(self, password: Secret[str]) -> AESGCM:
        """Return the cipher under the key that a password comes to."""
        kdf = Argon2id(
            salt=_bytes(self.salt),
            length=32,
            iterations=self.iterations,
            lanes=self.lanes,
            memory_cost=self.memory_kib,
        )
        return AESGCM(kdf.derive(_encoded(password).reveal()))


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    version: int
    node_id: str
    kdf: Kdf
    secrets: str
    checksum: str

    def associated_data(self) -> bytes:
        head = (self.format, self.version, self.node_id, self.kdf)
        return msgspec.json.encode(head, order="sorted")

    def right_checksum(self) -> str:
        return hashlib.sha256(self.associated_data() + self.secrets.encode("utf-8")).hexdigest()

    def fault(self) -> str | None:
        """Return what can be said to be wrong without the password; raises `ValueError` too."""
        if self.checksum != self.right_checksum():
            return "its checksum is wrong"
        decode_node_id(self.node_id)
        _bytes(self.secrets)
        if self.kdf.name not in ("argon2id", "none"):
            return "its key derivation is not one we know"
        if self.kdf.name == "argon2id" and not self.kdf.is_sane():
            return "its key derivation asks for more than any file of ours does"
        return None


class _Version(msgspec.Struct):
    format: str
    version: int


@dataclass(frozen=True, repr=False)
class StoredKeyRing:
    """A key ring as it lies in its file, still locked. Without a password it holds bare keys."""

    path: Path
    record: _Record

    @property
    def node_id(self) -> str:
        return self.record.node_id

    @property
    def has_password(self) -> bool:
        return self.record.kdf.name != "none"

    def unlock(self, password: Secret[str] | None) -> Secret[bytes]:
        """Return the secrets: identity seed and sealing key, 64 bytes."""
        if self.has_password:
            plain = self._decrypted(password)
        elif password is None:
            plain = Secret(_bytes(self.record.secrets))
        else:
            message = f"{self.path} has no password: open it with none"
            raise WrongPasswordError(message, path=str(self.path))
        if len(plain.reveal()) != SECRETS_BYTES:
            raise damaged(self.path, "its secrets have the wrong length")
        return plain

    def _decrypted(self, password: Secret[str] | None) -> Secret[bytes]:
        if password is None:
            message = f"{self.path} is protected by a password: give it"
            raise PasswordRequiredError(message, path=str(self.path))
        cipher = self.record.kdf.cipher(password)
        sealed = _bytes(self.record.secrets)
        nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return Secret(cipher.decrypt(nonce, ciphertext, self.record.associated_data()))
        except (InvalidTag, ValueError) as error:
            message = f"this is not the password of {self.path}"
            raise WrongPasswordError(message, path=str(self.path)) from error


def damaged(path: Path, what: str) -> KeyRingDamagedError:
    """Return the error for a file that is not a whole key ring."""
    return KeyRingDamagedError(
        f"{path} is damaged: {what}; put back a backup of it", path=str(path)
    )


def read(path: Path, *, group_readable: bool = False) -> StoredKeyRing:
    """Read the file and check all that can be checked without the password.

    Args:
        path: the file, or a link to it that nobody else can lead elsewhere.
        group_readable: whether its group may read it, and change it, too.
    """
    refused = 0o007 if group_readable else 0o077
    try:
        files.check_path(path)
        place = safe_target(path) if path.is_symlink() else path
        content = Secret(files.read_private(place, limit=_LIMIT, refused=refused))
    except FileNotFoundError as error:
        message = f"there is no key ring at {path}: create one with `keyturn init`"
        raise KeyRingNotFoundError(message, path=str(path)) from error
    except PermissionError as error:
        message = _not_permitted(path, error, group_readable)
        raise KeyRingPermissionError(message, path=str(path)) from error
    except OSError as error:
        if error.errno in UNFIT_CONTENT:
            raise damaged(path, f"it {reason(error)}") from error
        message = f"{path} cannot be read: {reason(error)}"
        raise KeyRingUnavailableError(message, path=str(path)) from error
    return StoredKeyRing(path, _parse(path, content))


def _parse(path: Path, content: Secret[bytes]) -> _Record:
    try:
        head = msgspec.json.decode(content.reveal(), type=_Version)
        if head.format != FORMAT or head.version < 1:
            raise damaged(path, "it is not a key ring")
        if head.version > VERSION:
            message = (
                f"{path} has version {head.version} of the format, this Keyturn reads "
                f"{VERSION}: install a newer Keyturn"
            )
            raise KeyRingVersionError(message, path=str(path))
        record = Secret(msgspec.json.decode(content.reveal(), type=_Record))
        fault = record.reveal().fault()
    except (ValueError, RecursionError):  # of msgspec, base64, UTF-8 and node ids
        raise damaged(path, "it is not a whole JSON object of a key ring") from None
    if fault is not None:
        raise damaged(path, fault)
    return record.reveal()


def write(
    path: Path,
    node_id: str,
    plain: Secret[bytes],
    password: Secret[str] | None,
    mode: int = files.MODE,
) -> None:
    """Write the secrets, atomically, under this password; for use within `exclusive`."""
    files.write_private(path, _encode(node_id, plain, password), mode=mode)


def _encode(node_id: str, plain: Secret[bytes], password: Secret[str] | None) -> Secret[bytes]:
    kdf = Kdf("none") if password is None else Kdf.new()
    record = _Record(FORMAT, VERSION, node_id, kdf, "", "")
    if password is not None:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        data = record.associated_data()
        plain = Secret(nonce + kdf.cipher(password).encrypt(nonce, plain.reveal(), data))
    record = msgspec.structs.replace(record, secrets=_text(plain.reveal()))
    record = msgspec.structs.replace(record, checksum=record.right_checksum())
    return Secret(msgspec.json.format(msgspec.json.encode(record)) + b"\n")


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep other processes from writing this key ring, and say why it cannot be written."""
    try:
        files.check_path(path)
        with files.locked(path, timeout=_LOCK_TIMEOUT):
            files.sweep_temp_files(path)
            yield
    except OSError as error:
        kind: type[KeyRingError] = KeyRingUnavailableError
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            kind = KeyRingPermissionError
        raise kind(f"{path} cannot be written: {reason(error)}", path=str(path)) from error


def _encoded(password: Secret[str]) -> Secret[bytes]:
    """Return a password as bytes, the same however its accents are typed."""
    if not isinstance(password.reveal(), str) or not password.reveal():
        raise WrongPasswordError("a password is text and not empty; None means no password")
    try:
        return Secret(unicodedata.normalize("NFC", password.reveal()).encode("utf-8"))
    except UnicodeEncodeError:
        raise WrongPasswordError("a password is valid Unicode text") from None


def _not_permitted(path: Path, error: OSError, group_readable: bool) -> str:
    if error.strerror == os.strerror(error.errno or 0):
        return f"{path} cannot be read by this user"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        mode = 0o077
    # What its group alone can read, too, is how Kubernetes mounts a Secret.
    way_out = ", or set KEYTURN_GROUP_READABLE=true if its group is to read it"
    return f"{path} {error.strerror}{'' if group_readable or mode & 0o007 else way_out}"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    """Return what base64url stands for, or raise `ValueError`."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
