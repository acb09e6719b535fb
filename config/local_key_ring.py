"""The key ring that keeps its secrets in one local file: see `key_ring_file` for the format."""

from __future__ import annotations

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyturn.config import key_ring_file
from keyturn.domain.errors import (
    KeyRingExistsError,
    KeyRingNotFoundError,
    KeyRingPermissionError,
    SealError,
    WrongPasswordError,
)
from keyturn.domain.node import encode_node_id
from keyturn.domain.secret import Password, Secret, hidden

_NONCE_BYTES = 12
_SECRET_BYTES = 32


class KeyRing:
    """An Ed25519 identity and a 256-bit sealing key.

    Get one from `create`, `open` or `ephemeral`. It cannot be pickled and shows no secret.
    """

    __slots__ = ("_group_readable", "_identity", "_node_id", "_path", "_plain", "_sealing")

    def __init__(
        self, identity_seed: bytes, sealing_key: bytes, path: Path | None = None
    ) -> None:
        self._path = path
        self._group_readable = False
        self._plain = Secret(identity_seed + sealing_key)
        self._identity = Ed25519PrivateKey.from_private_bytes(identity_seed)
        self._sealing = AESGCM(sealing_key)
        public_key = self._identity.public_key().public_bytes_raw()
        self._node_id = encode_node_id(public_key)

    def __repr__(self) -> str:
        return f"<KeyRing of {self._node_id}>"

    def __reduce__(self) -> str:
        raise TypeError("a key ring cannot be pickled: open it again where it is needed")

    @classmethod
    def ephemeral(cls) -> KeyRing:
        """Return a new key ring that is kept in memory only."""
        return cls(secrets.token_bytes(_SECRET_BYTES), secrets.token_bytes(_SECRET_BYTES))

    @classmethod
    def create(cls, path: str | Path, password: Password) -> KeyRing:
        """Make a new key ring and write it to `path`.

        Args:
            path: where; missing folders are created with mode 0700, the file with 0600.
            password: protects the secrets (Argon2id). None: only the file's mode does.

        Returns:
            The key ring.

        Raises:
            KeyRingExistsError: there is one already. It is left alone.
            KeyRingPermissionError: the place cannot be written.
        """
        password = hidden(password)
        ring = cls.ephemeral()
        ring.save(path, password)
        return ring

    @classmethod
    def open(
        cls, path: str | Path, password: Password, *, group_readable: bool = False
    ) -> KeyRing:
        """Open the key ring at `path`. With a password this takes about a quarter of a second.

        Args:
            path: the file, or a link to it that only root and this user can lead elsewhere.
            password: that protects it; None: there is none.
            group_readable: whether its group may read it too, as that of a Kubernetes Secret.

        Returns:
            The key ring.

        Raises:
            KeyRingNotFoundError: there is none.
            KeyRingPermissionError: it cannot be read, or others can read it too.
            KeyRingUnavailableError: it cannot be read now.
            KeyRingDamagedError: it is not a whole, unaltered key ring.
            KeyRingVersionError: a newer Keyturn wrote it.
            WrongPasswordError: the password is not the right one.
        """
        password = hidden(password)
        stored = key_ring_file.read(Path(path), group_readable=group_readable)
        plain = stored.unlock(password)
        ring = cls(plain.reveal()[:_SECRET_BYTES], plain.reveal()[_SECRET_BYTES:], Path(path))
        ring._group_readable = group_readable
        if ring.node_id != stored.node_id:
            raise key_ring_file.damaged(stored.path, "its secrets are not those of its node id")
        return ring

    def reopen(self, password: Password) -> KeyRing:
        """Open the same file again: see `open`.

        Raises:
            KeyRingNotFoundError: it is in memory only, or the file is gone.
            KeyRingError: see `open`.
        """
        password = hidden(password)
        if self._path is None:
            raise KeyRingNotFoundError("this key ring is in no file, and has no password")
        return KeyRing.open(self._path, password, group_readable=self._group_readable)

    def save(self, path: str | Path, password: Password) -> None:
        """Write a key ring that is in memory only to a file.

        Args:
            path: where; missing folders are created with mode 0700, the file with 0600.
            password: protects the secrets (Argon2id). None: only the file's mode does.

        Raises: what `create` raises.
        """
        password = hidden(password)
        path = Path(path)
        with key_ring_file.exclusive(path):
            if path.exists() or path.is_symlink():
                message = f"{path} exists already: open it, or choose another path"
                raise KeyRingExistsError(message, path=str(path))
            key_ring_file.write(path, self._node_id, self._plain, password)
        self._path = path

    @staticmethod
    def check_password(
        path: str | Path, password: Password, *, group_readable: bool = False
    ) -> bool:
        """Return whether this is the password of the key ring at `path`; None: that it has none.

        It is derived as for opening (Argon2id), which takes about a quarter of a second.

        Args:
            path: the file.
            password: what to try.
            group_readable: whether its group may read it too.

        Raises: what `open` raises, but for `WrongPasswordError`.
        """
        password = hidden(password)
        try:
            KeyRing.open(path, password, group_readable=group_readable)
        except WrongPasswordError:
            return False
        return True

    @staticmethod
    def change_password(
        path: str | Path,
        old: Password,
        new: Password,
        *,
        group_readable: bool = False,
    ) -> None:
        """Protect the same secrets with another password (or, with None, with none).

        Only the key ring's file is rewritten, atomically: nothing in the log changes.

        Args:
            path: the file; not a link to it.
            old: the password until now; None: there is none.
            new: the password from now on; None: there is none.
            group_readable: whether its group may read it too.

        Raises: what `open` raises.
        """
        old, new = hidden(old), hidden(new)
        path = Path(path)
        with key_ring_file.exclusive(path):
            stored = key_ring_file.read(path, group_readable=group_readable)
            if path.is_symlink():
                message = f"{path} is a link: change the password of the file that it leads to"
                raise KeyRingPermissionError(message, path=str(path))
            plain = stored.unlock(old)
            mode = path.stat().st_mode & 0o060 | 0o600
            key_ring_file.write(path, stored.node_id, plain, new, mode)

    @property
    def node_id(self) -> str:
        """The id of the node: its public key as text."""
        return self._node_id

    @property
    def path(self) -> Path | None:
        """The file that it was opened from or saved to; None: it is in memory only."""
        return self._path

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt and authenticate (AES-256-GCM).

        Args:
            plaintext: what to seal.
            context: the additional authenticated data.

        Returns:
            The nonce (12 bytes) and the ciphertext.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._sealing.encrypt(nonce, plaintext, context)

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """Return the plaintext of `seal`.

        Args:
            sealed: what `seal` returned.
            context: the same as then.

        Raises:
            SealError: another key ring sealed it, or for another context, or it was altered.
        """
        nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._sealing.decrypt(nonce, ciphertext, context)
        except (InvalidTag, ValueError) as error:
            raise SealError(
                "a sealed key does not open with this key ring at this place in the log: "
                "it was altered, moved, or sealed by another key ring"
            ) from error

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of `message` (RFC 8032, 64 bytes)."""
        return self._identity.sign(message)
