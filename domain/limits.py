"""Texts for the record: what can be recorded whole, for ever."""

from __future__ import annotations

from keyturn.domain.errors import AuditTextError

MAX_NAME = 100
MAX_INITIATOR = 255
MAX_REASON = 1000


def check_name(name: object) -> str:
    """Return the name of a manager if it is one."""
    if not isinstance(name, str) or not name.isprintable() or not name.strip():
        raise AuditTextError("a manager's name is printable text and not empty", field="name")
    return check_text(name, "name", MAX_NAME)


def check_text(text: object, field: str, limit: int) -> str:
    """Return a text for the record if it can be recorded, whole, for ever."""
    if not isinstance(text, str):
        raise AuditTextError(f"{field} is text, not {type(text).__name__}", field=field)
    if len(text) > limit:
        message = f"{field} has {len(text)} characters, at most {limit} are recorded: shorten it"
        raise AuditTextError(message, field=field)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise AuditTextError(f"{field} is not valid Unicode text", field=field) from None
    return text
