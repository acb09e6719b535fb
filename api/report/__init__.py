"""The report of an audit as one HTML page: the verdict, the findings, every change of the keys.

The page needs nothing but itself: style and script are inside, named by their digests in its
Content-Security-Policy, and nothing else may load or run. What comes from the log is text that
nobody vouches for. The template engine escapes all of it, and spells out what does not print.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from keyturn.projections.findings import AuditReport
from keyturn.projections.history import KeyChange
from keyturn.report.contents import contents_of
from keyturn.show import plain, time_text

if TYPE_CHECKING:
    from jinja2 import Environment


def render(
    report: AuditReport,
    changes: Mapping[str, Sequence[KeyChange]],
    *,
    made_at: datetime,
    since: datetime | None = None,
    names: Collection[str] = (),
) -> str:
    """Return the report of an audit as a page that can be read, printed and sent alone.

    Args:
        report: the verdict.
        changes: the genuine changes of each manager, by its name: see `changes_of`.
        made_at: when the audit was made (an aware datetime).
        since: show the changes from this moment on (an aware datetime). The verdict and the
            findings are of the whole record all the same.
        names: of the managers to show; empty: all.
    """
    files = resources.files("keyturn.report")
    style = (files / "report.css").read_text("utf-8")
    script = (files / "report.js").read_text("utf-8")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    page = contents_of(report, changes, made_at.astimezone(UTC), since, names)
    template = _templates().get_template("page.html")
    return template.render(page=page, report=report, style=style, script=script, policy=policy)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # 40 ms, and only for pages

    files = resources.files("keyturn.report")
    templates = Environment(
        loader=FunctionLoader(lambda name: (files / name).read_text("utf-8")),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["time"] = time_text
    return templates


def _printable(value: object) -> object:
    """Spell out what does not print in every text that a template is given."""
    is_markup = hasattr(value, "__html__")
    return plain(value) if isinstance(value, str) and not is_markup else value


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
