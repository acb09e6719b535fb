"""What tests read of a token and of a history."""

from __future__ import annotations

import base64
import json
from typing import Any

from keyturn import Service


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return claims


def kinds(service: Service) -> list[str]:
    return [change.kind for change in service.history()]
