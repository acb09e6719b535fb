"""The bodies of requests and answers, and how the first are read: bounded in size and time."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request

from keyturn.web.answers import ErrorAnswer, RequestRefusedError

MAX_BODY = 64 * 1024
"""Bytes: more than the largest token and its claims."""

BODY_TIMEOUT = 10.0
"""Seconds in which a body must be there."""

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

T = TypeVar("T")


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /tokens` is asked for."""

    subject: Annotated[str | None, Meta(description="Whose session it is; null: the node's.")] = (
        None
    )
    expiry: Annotated[
        float | None, Meta(description="Seconds that the token lives; null: as configured.")
    ] = None
    claims: Annotated[dict[str, Any] | None, Meta(description="The host's own claims.")] = None


class Refresh(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /refresh` is asked for."""

    token: Annotated[str, Meta(description="A good token.")]
    expiry: Annotated[
        float | None, Meta(description="Seconds from now; null: as long as the old one had.")
    ] = None


class MintedToken(msgspec.Struct):
    """A token that was minted."""

    token: str
    token_type: str = "Bearer"  # noqa: S105 - RFC 6750


class Problem(msgspec.Struct):
    """What was wrong with a request (RFC 6749, section 5.2)."""

    error: Annotated[str, Meta(description="A code for programs.")]
    error_description: Annotated[str, Meta(description="For people.")]


async def read_json(request: Request, kind: type[T]) -> T:
    """Return the body of a request.

    Raises:
        RequestRefusedError: with 400, 408, 413 or 415.
    """
    content = await _read(request, JSON)
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        is_json = isinstance(error, msgspec.ValidationError)
        why = str(error) if is_json else "the body is no JSON"
        raise refused(400, "invalid_request", why) from None  # the cause may hold a token


async def read_form_token(request: Request) -> str:
    """Return the token of a form (RFC 7662 and RFC 7009, section 2.1 of each).

    Raises:
        RequestRefusedError: with 400, 408, 413 or 415.
    """
    content = await _read(request, FORM)
    try:
        pairs = parse_qsl(content.decode("latin-1"), keep_blank_values=True, max_num_fields=16)
    except ValueError:
        pairs = []
    tokens = [value for name, value in pairs if name == "token"]
    if len(tokens) != 1:
        raise refused(400, "invalid_request", "the form has no token, or several")
    return tokens[0]


def refused(status: int, error: str, description: str) -> RequestRefusedError:
    """Return the error that is answered with this."""
    return RequestRefusedError(ErrorAnswer(status, error, description, {}))


async def _read(request: Request, kind: str) -> bytes:
    given = request.headers.get("content-type", "").partition(";")[0].strip(" \t").lower()
    if given != kind:
        raise refused(415, "invalid_request", f"the Content-Type must be {kind}")
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                content += chunk
                if len(content) > MAX_BODY:
                    why = f"the body has more than {MAX_BODY} bytes"
                    raise refused(413, "invalid_request", why)
    except TimeoutError:
        raise refused(408, "invalid_request", "the body did not come in time") from None
    except ClientDisconnect:
        raise refused(400, "invalid_request", "the body was cut off") from None
    return bytes(content)
