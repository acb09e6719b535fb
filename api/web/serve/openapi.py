"""The OpenAPI document: the schemas of bodies come from their classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

import keyturn
from keyturn.web.serve.bodies import FORM, JSON, MintedToken, NewToken, Problem, Refresh
from keyturn.web.serve.forward_auth import headers_of

_FORM_SCHEMA = {
    "type": "object",
    "required": ["token"],
    "properties": {"token": {"type": "string"}, "token_type_hint": {"type": "string"}},
}
_INTROSPECTION = {
    "type": "object",
    "required": ["active"],
    "properties": {
        "active": {"type": "boolean"},
        "token_type": {"const": "Bearer"},
        **{name: {"type": "string"} for name in ("iss", "sub", "jti", "sid")},
        **{name: {"type": "integer"} for name in ("iat", "exp", "auth_time")},
    },
    "additionalProperties": True,
}


def document(claims: Sequence[str]) -> dict[str, Any]:
    """Return the document (OpenAPI 3.1).

    Args:
        claims: the claims that become headers of `/auth`.
    """
    kinds = [NewToken, Refresh, MintedToken, Problem]
    template = "#/components/schemas/{name}"
    schemas, components = msgspec.json.schema_components(kinds, ref_template=template)
    new_token, refresh, token, problem = schemas
    errors = {
        str(status): _answer(text, problem)
        for status, text in (
            (400, "The body is not what is asked for."),
            (401, "No client secret, or a wrong one."),
            (408, "The body did not come in time."),
            (413, "The body is too large."),
            (415, "The body is of another type."),
            (429, "Too many wrong client secrets."),
            (503, "The log cannot be asked: try again after Retry-After."),
        )
    }

    def post(text: str, kind: str, body: object, good: object) -> dict[str, Any]:
        content = {"required": True, "content": {kind: {"schema": body}}}
        responses = {"200": _answer("Done.", good), **errors}
        return {"post": {"summary": text, "requestBody": content, "responses": responses}}

    return {
        "openapi": "3.1.0",
        "info": {"title": "keyturn serve", "version": keyturn.__version__},
        "security": [{"client_basic": []}, {"client_bearer": []}],
        "paths": {
            "/auth": {"get": _auth(claims)},
            "/introspect": post(
                "Whether a token is good (RFC 7662).", FORM, _FORM_SCHEMA, _INTROSPECTION
            ),
            "/revoke": post(
                "End a token's session (RFC 7009).", FORM, _FORM_SCHEMA, {"type": "object"}
            ),
            "/tokens": post("Mint a token, of a new session.", JSON, new_token, token),
            "/refresh": post("Exchange a good token for a new one.", JSON, refresh, token),
            "/metrics": {"get": _open("Figures, as Prometheus reads them.")},
            "/healthz": {"get": _open("Whether this process answers.")},
            "/readyz": {"get": _open("Whether tokens can be checked: 200 or 503.")},
        },
        "components": {
            "schemas": components,
            "securitySchemes": {
                "client_basic": {"type": "http", "scheme": "basic"},
                "client_bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }


def _auth(claims: Sequence[str]) -> dict[str, Any]:
    headers = {name: {"schema": {"type": "string"}} for _, name in headers_of(claims)}
    return {
        "summary": "Whether the request of a proxy has a good token.",
        "security": [{"session": []}],
        "responses": {
            "204": {"description": "It has; percent-encoded.", "headers": headers},
            "401": {"description": "It has none."},
            "403": {"description": "Another site sent it."},
            "503": {"description": "The log cannot be asked."},
        },
    }


def _open(text: str) -> dict[str, Any]:
    return {"summary": text, "security": [], "responses": {"200": {"description": "Yes."}}}


def _answer(text: str, schema: object) -> dict[str, Any]:
    return {"description": text, "content": {JSON: {"schema": schema}}}
