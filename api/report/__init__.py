"""The report of an audit as one HTML page: the verdict, the findings, every change of the keys.

The page needs nothing but itself: style and script are inside, named by their digests in its
Content-Security-Policy, and nothing else may load or run. What comes from the log is text that
nobody vouches for: it passes through `_text` on its way in, without exception.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources

from keyturn.projections.findings import AuditReport, Finding, FindingKind
from keyturn.projections.history import KeyChange
from keyturn.report.timeline import Segment, segments_of, ticks_of
from keyturn.show import change_text, held_against_text, lifetime_text, plain

_MAX_ROWS = 5_000  # of the whole page
_MIN_ROWS = 50  # of each manager, however many they are
_MAX_FINDINGS = 1_000
_DIGIT_WIDTH = 0.9  # of the number of a generation
_LONG_TEXT = 240
_KINDS = ("generated", "reset", "rotated", "destroyed")
_MEANINGS = {
    FindingKind.ALTERED: "What stands here is not what was signed.",
    FindingKind.MISSING: "A part of the record is gone.",
    FindingKind.REORDERED: "What was signed for one place stands in another.",
    FindingKind.FOREIGN: "It does not belong to the record of this node.",
    FindingKind.TRUNCATED: "The end of the record was cut off.",
    FindingKind.PUT_BACK: "What was removed for good is there again.",
    FindingKind.READER: "What a service reads is not what the rows say.",
    FindingKind.STORE: "The store itself is not as Keyturn made it.",
    FindingKind.ABANDONED: "A warning: this was given up when a rollback was accepted.",
    FindingKind.CLOCK: "A warning: a clock was set back. The order of events needs no clock.",
}


@dataclass(frozen=True, slots=True)
class _Section:
    """What the page says of one manager; `shown` are the positions that its table has."""

    id: str
    name: str
    changes: Sequence[KeyChange]
    shown: Mapping[int, KeyChange]
    findings: Mapping[int, Finding]
    made_at: datetime

    @property
    def of_keys(self) -> list[KeyChange]:
        """The changes of keys: the ends of sessions are left out."""
        return [change for change in self.changes if not change.is_of_sessions]

    def row_id(self, position: int | None) -> str | None:
        return f"{self.id}-{position}" if position in self.shown else None


def render(
    report: AuditReport, changes: Mapping[str, Sequence[KeyChange]], *, made_at: datetime
) -> str:
    """Return the report of an audit as a page that can be read, printed and sent alone.

    Args:
        report: the verdict.
        changes: the changes of each manager, by its name, as far as they can be read.
        made_at: when the audit was made (an aware datetime).
    """
    made_at = made_at.astimezone(UTC)
    files = resources.files("keyturn.report")
    style = (files / "report.css").read_text("utf-8")
    script = (files / "report.js").read_text("utf-8")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    sections = list(_sections(report, changes, made_at))
    verdict = "The record holds" if report.holds else "The record does not hold"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{verdict}: Keyturn audit</title>
<style>{style}</style>
</head>
<body>
{_MARKS}
<main>
{_verdict(report, verdict, sections, made_at)}
{_findings(report, sections)}
{_contents(sections)}
{"".join(map(_manager, sections))}
</main>
<footer>
<p>Made by <b>keyturn audit</b> at {_time(made_at)} UTC. All times are UTC.</p>
<p>This page is a copy: it says what was found, and proves nothing by itself. To be sure, run
<code>keyturn audit</code> on the log, or hold the log against a checkpoint that you kept:
<code>keyturn audit --against CHECKPOINT</code>.</p>
</footer>
<script>{script}</script>
</body>
</html>
"""


def _sections(
    report: AuditReport, changes: Mapping[str, Sequence[KeyChange]], made_at: datetime
) -> Iterator[_Section]:
    names = sorted({*changes, *report.heads})
    rows = max(_MIN_ROWS, _MAX_ROWS // max(1, len(names)))
    findings: dict[str | None, dict[int, Finding]] = defaultdict(dict)
    for finding in report.findings:
        if finding.position is not None:
            findings[finding.manager].setdefault(finding.position, finding)
    for number, name in enumerate(names, 1):
        own = sorted(changes.get(name, ()), key=lambda change: change.position)
        shown = {change.position: change for change in reversed(own[-rows:])}
        yield _Section(f"m{number}", name, own, shown, findings[name], made_at)


# --- the verdict ---


def _verdict(
    report: AuditReport, verdict: str, sections: Sequence[_Section], made_at: datetime
) -> str:
    if not report.holds:
        state, lead = "bad", "It is not as it was signed. Do not rely on it."
    elif not report.events:
        state, lead = "good", "It is empty: no key has been made yet."
    else:
        state = "good"
        lead = "Every event is as it was signed, in its place, without a gap."
        lead += "".join(f" {_text(line[0].upper() + line[1:])}." for line in report.caveats)
    warnings = sum(finding.kind.is_warning for finding in report.findings)
    heads = "".join(
        f"<div><dt>Checkpoint of {_text(name)}</dt><dd><code>{_text(str(head))}</code></dd></div>"
        for name, head in sorted(report.heads.items())
    )
    checkpoints = (
        '<details class="checkpoints"><summary>Checkpoints to keep somewhere else</summary>'
        f"<dl>{heads}</dl></details>"
    )
    return f"""<section class="verdict {state}" aria-labelledby="verdict">
{_seal(report.holds)}
<div>
<h1 id="verdict">{verdict}</h1>
<p class="lead">{lead}</p>
<dl class="facts">
<div class="wide"><dt>Node</dt><dd><code>{_text(report.node_id or "none")}</code></dd></div>
<div class="wide"><dt>Held against</dt><dd>{_text(held_against_text(report))}</dd></div>
<div><dt>Events</dt><dd>{report.events:,}</dd></div>
<div><dt>Managers</dt><dd>{len(sections):,}</dd></div>
<div><dt>Findings</dt><dd>{len(report.findings) - warnings:,}</dd></div>
<div><dt>Warnings</dt><dd>{warnings:,}</dd></div>
<div><dt>Made (UTC)</dt><dd>{_time(made_at)}</dd></div>
</dl>
{checkpoints if heads else ""}
</div>
<p class="maker">Keyturn audit</p>
</section>"""


def _seal(holds: bool) -> str:
    """Return a rosette as on certificates, whole or broken."""
    sign = "M-15 1 -4 12 16 -11" if holds else "M-11 -11 11 11M11 -11 -11 11"
    petals = "".join(
        f'<ellipse rx="68" ry="29" transform="rotate({angle})"/>' for angle in range(0, 180, 9)
    )
    return (
        '<svg class="seal" viewBox="-72 -72 144 144" aria-hidden="true">'
        f'<g class="petals">{petals}</g><circle class="ring" r="33"/>'
        f'<circle class="core" r="28"/><path class="sign" d="{sign}"/></svg>'
    )


def _findings(report: AuditReport, sections: Sequence[_Section]) -> str:
    state = ""
    if not report.findings:
        state, body = (
            " quiet",
            "<p>None: nothing was found altered, missing, moved or foreign.</p>",
        )
    else:
        by_name = {section.name: section for section in sections}
        rows = "".join(_finding(f, by_name) for f in report.findings[:_MAX_FINDINGS])
        note = _note(_MAX_FINDINGS, len(report.findings), "findings", "the first")
        body = f"""{note}{_SCROLL.format("findings")}
<table class="findings" aria-labelledby="findings">
<thead><tr><th scope="col">What</th><th scope="col">Manager</th><th scope="col">Position</th>
<th scope="col">Finding and meaning</th></tr></thead>
<tbody>{rows}</tbody></table></div>"""
    return (
        f'<section class="card{state}" aria-labelledby="findings">'
        f'<h2 id="findings">Findings</h2>{body}</section>'
    )


def _finding(finding: Finding, sections: Mapping[str, _Section]) -> str:
    section = sections.get(finding.manager or "")
    row = None if section is None else section.row_id(finding.position)
    place = "not known" if finding.position is None else str(finding.position)
    where = place if row is None else f'<a href="#{row}">{place}</a>'
    return (
        f'<tr><th scope="row">{_badge(finding)}</th>'
        f"<td>{_text(finding.manager or 'not known')}</td>"
        f"<td>{where}</td><td><b>{_text(finding.message)}</b><br>{_MEANINGS[finding.kind]}</td></tr>"
    )


def _badge(finding: Finding) -> str:
    return f'<span class="badge {_state(finding)}">{finding.kind.value}</span>'


def _state(finding: Finding) -> str:
    return "warn" if finding.kind.is_warning else "bad"


def _contents(sections: Sequence[_Section]) -> str:
    if len(sections) < 2:
        return ""
    items = "".join(
        f'<li><a href="#{s.id}"><bdi>{_text(s.name)}</bdi></a> '
        f'<span class="count">{len(s.changes):,}</span></li>'
        for s in sections
    )
    return f'<nav class="contents" aria-label="Managers"><ul>{items}</ul></nav>'


# --- a manager ---


def _manager(section: _Section) -> str:
    if not section.changes:
        body = "<p>There are no changes of its keys to show.</p>"
    else:
        of_keys = _summary(section) + _timeline(section) if section.of_keys else ""
        body = of_keys + _table(section)
    return (
        f'<section class="card manager" id="{section.id}" aria-labelledby="{section.id}-name">'
        f'<h2 id="{section.id}-name"><span class="of">Keys of</span> '
        f"<bdi>{_text(section.name)}</bdi></h2>{body}</section>"
    )


def _summary(section: _Section) -> str:
    last = section.of_keys[-1]
    kinds = Counter(change.kind for change in section.changes)
    ended = [c.lifetime for c in section.changes if c.lifetime and c.kind != "destroyed"]
    now = f"Generation {last.generation}" if last.kind != "destroyed" else "None: destroyed"
    facts = {
        "Current key": (now, f"for {_duration(section.made_at - last.at)}"),
        "Changes": (f"{len(section.changes):,}", _counts(kinds)),
        "Last change by": (last.initiator, last.reason or "no reason given"),
        "Longest life": (
            lifetime_text(max(ended)) if ended else "none yet",
            "of a key that ended",
        ),
    }
    tiles = "".join(
        f'<div><dt>{name}</dt><dd><bdi>{_text(value)}</bdi><span class="more">{_text(more)}'
        "</span></dd></div>"
        for name, (value, more) in facts.items()
    )
    return f'<dl class="tiles">{tiles}</dl>'


def _timeline(section: _Section) -> str:
    changes = section.of_keys
    segments = segments_of(changes, section.made_at)
    drawn = "".join(_draw(segment, section) for segment in segments)
    ticks = "".join(
        f'<line x1="{x}%" x2="{x}%" y1="74" y2="80"/>'
        f'<text x="{x}%" y="96" text-anchor="{anchor}">{label}</text>'
        for x, label, anchor in ticks_of(segments, section.made_at)
    )
    merged = sum(len(segment.changes) > 1 for segment in segments)
    note = "Drawn to scale; what was too short to be seen is widened."
    if merged:
        note += (
            f" {len(changes):,} changes are more than fit:"
            " short neighbours are merged, and drawn in grey."
        )
    legend = "".join(
        f'<li><svg viewBox="-8 -8 16 16" aria-hidden="true" class="k-{kind}">'
        f'<use href="#mark-{kind}"/></svg>{kind}</li>'
        for kind in _KINDS
        if any(change.kind == kind for change in changes)
    )
    return f"""<figure class="timeline">
<figcaption><h3>Generations</h3><ul class="legend">{legend}</ul></figcaption>
<div class="chart"><svg class="line" role="group" aria-label="Timeline of generations">
<g class="axis" aria-hidden="true"><line x1="0" x2="100%" y1="74" y2="74"/>{ticks}
<text x="100%" y="16" text-anchor="end">now</text></g>
{drawn}</svg><div class="tip" role="tooltip" hidden></div></div>
<p class="note">{note}<span class="keys" hidden> Point at a generation, or move with the arrow
keys, to see who and why.</span></p>
</figure>"""


def _draw(segment: Segment, section: _Section) -> str:
    first = segment.changes[0]
    alone = len(segment.changes) == 1
    kind = first.kind if alone and first.kind in _KINDS else "merged"
    findings = [f for c in segment.changes if (f := section.findings.get(c.position))]
    state = min(map(_state, findings), default="")
    facts = _facts_of_one(first, segment) if alone else _facts_of_many(segment)
    if findings:
        facts["finding"] = ", ".join(sorted({finding.kind.value for finding in findings}))
    title = "\n".join(f"{name}\t{_clipped(value)}" for name, value in facts.items())
    label = "; ".join(f"{name} {_clipped(value)}" for name, value in facts.items())
    center = round(segment.left + segment.width / 2, 3)
    number = f'<text x="{center}%" y="53" aria-hidden="true">{first.generation}</text>'
    fits = segment.width >= 1.4 + _DIGIT_WIDTH * len(str(first.generation))
    mark = f'<use href="#mark-{kind}" x="{round(segment.left, 3)}%" y="12"/>' if alone else ""
    row = section.row_id(first.position)
    tag, target = ("a", f' href="#{row}"') if row else ("g", ' role="img"')
    return (
        f'<{tag} class="segment k-{kind}{state and " " + state}" tabindex="0"{target}'
        f' aria-label="{label}"><title>{title}</title>'
        f'<rect x="{round(segment.left, 3)}%" y="24" width="{round(segment.width, 3)}%"'
        f' height="48" rx="3"/>{mark}'
        f"{number if alone and fits and kind != 'destroyed' else ''}"
        f"</{tag}>\n"
    )


def _facts_of_one(change: KeyChange, segment: Segment) -> dict[str, str]:
    lived = _duration(timedelta(seconds=segment.seconds))
    ended = change.kind == "destroyed"
    return {
        "generation": f"{change.generation}" + (", the last" if ended else ""),
        "change": change_text(change),
        "when": f"{change.at:%Y-%m-%d %H:%M:%S} UTC",
        "by": change.initiator,
        "why": change.reason or "no reason given",
        "no key since" if ended else "lived": lived,
    } | ({"and": "is current"} if change.lifetime is None and not ended else {})


def _facts_of_many(segment: Segment) -> dict[str, str]:
    changes = segment.changes
    people = Counter(change.initiator for change in changes).most_common()
    names = [name[:60] for name, _ in people[:3]]
    return {
        "generations": f"{changes[0].generation} to {changes[-1].generation}",
        "changes": f"{len(changes):,}: {_counts(Counter(c.kind for c in changes))}",
        "from": f"{changes[0].at:%Y-%m-%d %H:%M:%S} UTC",
        "to": f"{changes[-1].at:%Y-%m-%d %H:%M:%S} UTC",
        "by": ", ".join(names) + (f" and {len(people) - 3} more" if people[3:] else ""),
        "lived": _duration(timedelta(seconds=segment.seconds)) + " together",
    }


def _table(section: _Section) -> str:
    rows = "".join(_row(change, section) for change in section.shown.values())
    return f"""<div class="above">
<h3 id="{section.id}-changes">Changes</h3>
<div class="filter" role="search" hidden>
<label for="{section.id}-filter">Filter</label>
<input id="{section.id}-filter" type="search" autocomplete="off" spellcheck="false">
<output for="{section.id}-filter" role="status"></output></div></div>
{_note(len(section.shown), len(section.changes), "changes", "the newest")}
{_SCROLL.format(f"{section.id}-changes")}
<table class="changes" aria-labelledby="{section.id}-changes">
<thead><tr><th scope="col" data-sort="number" aria-sort="descending">Position</th>
<th scope="col">Change</th><th scope="col" data-sort="number">Generation</th>
<th scope="col">When (UTC)</th><th scope="col">By</th><th scope="col">Why</th>
<th scope="col" data-sort="number">Lifetime</th><th scope="col">Digest</th></tr></thead>
<tbody>{rows}</tbody></table></div>
<p class="note none" hidden>No change has all of these words.</p>"""


def _row(change: KeyChange, section: _Section) -> str:
    finding = section.findings.get(change.position)
    lifetime = section.made_at - change.at if change.lifetime is None else change.lifetime
    if change.is_of_sessions:
        lifetime = timedelta(0)
        lived = ""
    elif change.lifetime is None and change.kind != "destroyed":
        lived = "current"
    else:
        lived = _duration(lifetime)
    kind = change.kind if change.kind in _KINDS else "merged"
    mark = f'<svg viewBox="-8 -8 16 16" aria-hidden="true"><use href="#mark-{kind}"/></svg>'
    state = "" if finding is None else f' class="{_state(finding)}"'
    return (
        f'<tr id="{section.id}-{change.position}"{state}>'
        f'<th scope="row">{change.position}</th>'
        f'<td class="k-{kind}">{mark}{_text(change_text(change))}'
        f"{' ' + _badge(finding) if finding else ''}</td><td>{change.generation}</td>"
        f"<td>{_time(change.at)}</td><td>{_text(change.initiator)}</td>"
        f"<td>{_long(change.reason or '')}</td>"
        f'<td data-value="{lifetime.total_seconds():.6f}">'
        f"{lived}</td>"
        f'<td><code title="{_text(change.digest)}">{_text(change.digest[:10])}…</code>'
        "</td></tr>\n"
    )


# --- texts ---


def _text(text: str) -> str:
    """Return what is not ours as HTML text that shows, and never does, anything."""
    return html.escape(plain(text), quote=True)


def _clipped(text: str) -> str:
    return _text(text if len(text) <= _LONG_TEXT else text[:_LONG_TEXT] + "…")


def _long(text: str) -> str:
    if len(text) <= _LONG_TEXT:
        return _text(text)
    return f"<details><summary>{_text(text[:80])}…</summary>{_text(text)}</details>"


def _time(moment: datetime) -> str:
    return f'<time datetime="{moment.isoformat()}">{moment:%Y-%m-%d %H:%M:%S}</time>'


def _duration(lifetime: timedelta) -> str:
    """Return a lifetime as `lifetime_text` has it; one that ran backwards is none."""
    return lifetime_text(max(lifetime, timedelta(0)))


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())


def _note(shown: int, all_: int, things: str, which: str) -> str:
    if shown >= all_:
        return ""
    return f'<p class="note">Of {all_:,} {things}, {which} {shown:,} are shown.</p>'


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


_SCROLL = '<div class="scroll" role="region" tabindex="0" aria-labelledby="{}">'
_MARKS = """<svg class="marks" width="0" height="0" aria-hidden="true"><defs>
<pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse"
 patternTransform="rotate(45)"><path class="hatch" d="M0 0V7"/></pattern>
<circle id="mark-generated" r="5"/><path id="mark-reset" d="M0-6 6 0 0 6-6 0Z"/>
<circle id="mark-merged" r="3"/><path id="mark-rotated" d="M0-5.5 6 5H-6Z"/>
<path id="mark-destroyed" class="cross" d="M-4.5-4.5 4.5 4.5M4.5-4.5-4.5 4.5"/>
</defs></svg>"""
