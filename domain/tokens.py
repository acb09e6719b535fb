"""Session tokens: minting and checking. Pure functions of text, keys and time.

A token is a JWT (RFC 7519) in JWS compact form (RFC 7515, section 3.1), signed with HS256
(RFC 7518, section 3.2). This is a strict reader, and the only one that it has to please is
itself: one algorithm, whatever a token says; one header for each key, byte for byte; the
signature before any claim is looked at; and of all spellings of a token only the one that
`mint` would write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from keyturn.domain.claims import RESERVED_CLAIMS, Claims
from keyturn.domain.ended_sessions import EndedSessions
from keyturn.domain.errors import ClaimError, Refusal, TokenRefusedError
from keyturn.domain.random_ids import next_pair

SessionToken = str
"""A session token: printable ASCII, three parts with dots between them."""

MAX_TOKEN_LENGTH: Final = 8192
"""Characters; a longer token is neither minted nor looked at."""

_SIGNATURE_LENGTH = 43
_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder(dict[str, Any]).decode
_PADDING = (b'"', b'==="', b'=="', b'="')  # and the quote behind it
_decode_bytes = msgspec.json.Decoder(bytes).decode
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session key. Its repr does not show the secret.

    Attributes:
        generation: 1 for the first key of a manager, then 2, 3, …
        key_id: the public fingerprint of the key, the `kid` of its tokens.
        secret: the HS256 key, 32 bytes.
    """

    generation: int
    key_id: str
    secret: bytes = field(repr=False)


class SigningKey:
    """A session key made ready for signing; safe to use from any thread.

    It signs what stands behind its own header, and nothing else.
    """

    __slots__ = ("_hmac", "encoded_header", "generation", "header", "key_id")

    def __init__(self, key: SessionKey) -> None:
        self.generation = key.generation
        self.key_id = key.key_id
        header = _base64url(_encode_json({"alg": "HS256", "kid": key.key_id, "typ": "JWT"}))
        self.header = header.decode("ascii")
        self.encoded_header = header
        self._hmac = HMAC(key.secret, SHA256())  # a copy costs half of a new one
        self._hmac.update(header + b".")

    def __repr__(self) -> str:
        return f"<SigningKey {self.key_id} of generation {self.generation}>"

    def signature(self, payload: bytes) -> bytes:
        """Return the signature of a token with this payload: 43 bytes of base64url."""
        mac = self._hmac.copy()
        mac.update(payload)
        # Unlike JSON it is likely to have characters to change: one pass is quicker than two.
        return _encode_json(mac.finalize()).strip(b'"=').translate(_URL_SAFE)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys by which tokens are minted and checked at one point of the log.

    Attributes:
        signing: the current key; None when there is none.
        accepted: the current key and the keys in overlap, by the header of their tokens;
            each with the end of its overlap (seconds since the epoch), or None.
        ended: the sessions that were ended.
        position: the point of the log: where sessions that begin now begin.
    """

    signing: SigningKey | None
    accepted: Mapping[str, tuple[SigningKey, float | None]]
    ended: EndedSessions
    position: int


@dataclass(frozen=True, slots=True)
class Session:
    """What stays the same through every refresh of a session's token.

    Attributes:
        sid: its id.
        auth_time: when it began, in seconds since the epoch.
        began: the position of the head when it began.
        subject: whose it is.
        claims: the host's own.
        expiry: seconds that its token was to live; None: for ever.
    """

    sid: str
    auth_time: int
    began: int
    subject: str
    claims: Claims
    expiry: float | None


class _OwnClaims(msgspec.Struct, omit_defaults=True, gc=False):
    """The claims that Keyturn writes itself, in their order: it encodes faster than a dict."""

    iss: str
    sub: str
    iat: int
    jti: str
    sid: str
    auth_time: int
    keyturn_pos: int
    exp: int | None = None


def mint(
    key: SigningKey,
    issuer: str,
    subject: str,
    began: int,
    now: float,
    expiry: float | None,
    max_lifetime: float | None = None,
    claims: Claims | None = None,
    session: Session | None = None,
) -> SessionToken:
    """Return a new token.

    Args:
        key: the current key.
        issuer: the node id.
        subject: whose session it is.
        began: the position of the head, where a new session begins.
        now: seconds since the epoch.
        expiry: seconds from now; None for a token that does not expire.
        max_lifetime: seconds that the session may last from `auth_time` on; None for ever.
        claims: the host's own, already checked by `claims.check_claims`.
        session: the session to go on with; None begins one.

    Raises:
        ClaimError: the claims make the token larger than 8 KiB.
    """
    auth_time = second = int(now)
    jti, sid = next_pair()
    if session is not None:
        sid, auth_time, began = session.sid, session.auth_time, session.began
    if max_lifetime is not None:
        left = auth_time + max_lifetime - now
        expiry = left if expiry is None else min(expiry, left)
    exp = None if expiry is None else int(now + expiry)
    payload = _encode_json(_OwnClaims(issuer, subject, second, jti, sid, auth_time, began, exp))
    if claims:
        payload = payload[:-1] + b"," + _encode_json(claims)[1:]  # one object of both
    encoded = _base64url(payload)
    token = b".".join((key.encoded_header, encoded, key.signature(encoded)))
    if len(token) > MAX_TOKEN_LENGTH:
        raise ClaimError(
            f"with these claims the token would be longer than {MAX_TOKEN_LENGTH} characters: "
            "keep less in it"
        )
    return token.decode("ascii")


def verify(token: object, keys: KeySet, now: float, max_lifetime: float | None = None) -> Claims:
    """Return the claims of a good token.

    Args:
        token: anything.
        keys: the keys of this moment.
        now: seconds since the epoch.
        max_lifetime: seconds that a session may last from `auth_time` on; None for ever.

    Raises:
        TokenRefusedError: it is not a good token; `reason` says why.
    """
    claims = open_genuine(token, keys, now)
    refusal = refusal_by_age(claims, now, max_lifetime)
    if refusal is None and keys.ended.oldest is not None:
        began = began_at(claims, keys)
        if keys.ended.covers(claims["sid"], claims["sub"], began):
            refusal = Refusal.SESSION_ENDED
    if refusal is not None:
        raise refused(refusal, read_key_id(token))
    return claims


def open_genuine(token: object, keys: KeySet, now: float) -> Claims:
    """Return the claims of a token that a good key has signed, whether it has expired or not.

    Raises:
        TokenRefusedError: none has, or the token is not one that `mint` writes.
    """
    if type(token) is not str or len(token) > MAX_TOKEN_LENGTH or not token.isascii():
        raise refused(Refusal.MALFORMED)
    header, _, rest = token.partition(".")
    accepted = keys.accepted.get(header)
    if accepted is None:
        key_id = read_key_id(token)
        raise refused(Refusal.MALFORMED if key_id is None else Refusal.UNKNOWN_KEY, key_id)
    key, good_until = accepted
    if good_until is not None and now >= good_until:
        raise refused(Refusal.REVOKED, key.key_id)
    return open_with(key, rest)


def began_at(claims: Claims, keys: KeySet) -> int:
    """Return the position at which the session of a token began; 0: before all others.

    A host's own claim of this name, in a token of version 0.1, is no position.
    """
    position = claims.get("keyturn_pos")
    return position if type(position) is int and 0 <= position <= keys.position else 0


def refusal_by_age(claims: Claims, now: float, max_lifetime: float | None) -> Refusal | None:
    """Return why a token with these claims is too old at a time, None if it is not.

    It is good through the second that `exp` names, and so is its session at the end.
    """
    if "exp" in claims and now >= claims["exp"] + 1:
        return Refusal.EXPIRED
    if max_lifetime is not None and now >= claims["auth_time"] + max_lifetime + 1:
        return Refusal.LIFETIME_EXCEEDED
    return None


def open_with(key: SigningKey, rest: str) -> Claims:
    """Return the claims of a token that this key signed, whatever the time.

    Args:
        key: the key.
        rest: ASCII text: what stands in the token behind the header of this key and a dot.

    Raises:
        TokenRefusedError: the signature is wrong, or the token is not one that `mint` writes.
    """
    payload, _, signature = rest.encode("ascii").partition(b".")
    # The signature is compared in its encoded form: that leaves it one spelling.
    if not compare_digest(key.signature(payload), signature):
        reason = Refusal.BAD_SIGNATURE if rest.count(".") == 1 else Refusal.MALFORMED
        raise refused(reason, key.key_id)
    try:
        claims = _decode_json(_from_base64url(payload))
        # Whatever it was read from: the one spelling of these claims is what `mint` writes.
        if _base64url(_encode_json(claims)) == payload and _are_well_typed(claims):
            return claims
    except (ValueError, KeyError, RecursionError):
        pass  # and say nothing of what it held
    raise refused(Refusal.MALFORMED, key.key_id)


def read_key_id(token: object) -> str | None:
    """Return the `kid` of a text that has the shape of our tokens, else None. Proves nothing."""
    if type(token) is not str or len(token) > MAX_TOKEN_LENGTH or not token.isascii():
        return None
    parts = token.encode("ascii").split(b".")
    if len(parts) != 3 or len(parts[2]) != _SIGNATURE_LENGTH:
        return None
    try:
        decoded = [_from_base64url(part) for part in parts]
        if [_base64url(part) for part in decoded] != parts:
            return None
        header = _decode_json(decoded[0])
    except (ValueError, RecursionError):
        return None
    key_id = header.get("kid")
    ours = {"alg": "HS256", "kid": key_id, "typ": "JWT"}
    return key_id if isinstance(key_id, str) and _encode_json(ours) == decoded[0] else None


def read_number(token: object, claim: str) -> float:
    """Return the number that a token claims under this name; 0: none. Proves nothing."""
    try:
        claims = _decode_json(_from_base64url(str(token).split(".")[1].encode("ascii")))
    except (ValueError, IndexError, RecursionError):
        return 0
    value = claims.get(claim)
    return value if type(value) is int or type(value) is float else 0


def session_of(claims: Claims) -> Session:
    """Return what a refreshed token keeps of the claims of a good one."""
    position = claims.get("keyturn_pos")
    return Session(
        sid=claims["sid"],
        auth_time=claims["auth_time"],
        began=position if type(position) is int and 0 <= position < 2**63 else 0,
        subject=claims["sub"],
        claims=host_claims(claims),
        expiry=claims["exp"] - claims["iat"] if "exp" in claims else None,
    )


def host_claims(claims: Claims) -> Claims:
    """Return the claims that are the host's own."""
    return {name: value for name, value in claims.items() if name not in RESERVED_CLAIMS}


def _are_well_typed(claims: Claims) -> bool:
    """Tell whether the claims that `mint` always writes are there and of their types."""
    auth_time = claims["auth_time"]
    return (
        type(auth_time) is int
        and -(2**63) <= auth_time < 2**63  # a lifetime can be added to it
        and type(claims["iat"]) is int
        and type(claims.get("exp", 0)) is int
        and type(claims["jti"]) is str
        and type(claims["sid"]) is str
        and type(claims["sub"]) is str
        and type(claims["iss"]) is str
    )


# In JSON, msgspec writes bytes as text in base64: base64url but for quotes, padding and two
# characters. It reads that in half of the time that binascii takes.


def _base64url(data: bytes) -> bytes:
    return _encode_json(data).strip(b'"=').replace(b"+", b"-").replace(b"/", b"_")


def _from_base64url(text: bytes) -> bytes:
    """Return what a text encodes. Other spellings pass too: encode it again to find them."""
    standard = text.replace(b"-", b"+").replace(b"_", b"/")
    return _decode_bytes(b'"' + standard + _PADDING[len(text) % 4])


def refused(reason: Refusal, key_id: str | None = None) -> TokenRefusedError:
    """Return the error for a token that is not good."""
    message = f"the token is not good: {reason.value}"
    return TokenRefusedError(message, reason=reason, key_id=key_id)
