"""`keyturn history`: what is shown of how much, for people, programs and spreadsheets."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import keyturn
from keyturn.cli.history import _Histories
from keyturn.cli.tables import csv_header, csv_line
from keyturn.projections.history import KeyChange
from keyturn.show import json_line
from tests.api.command_line import COMMAND, Keyturn


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Keyturn:
    """A command line whose log has two managers, one of them with 60 changes."""
    run = Keyturn(tmp_path_factory.mktemp("long") / "data")
    with keyturn.open(path=run.folder, password=None) as service:
        for number in range(58):
            service.reset_key(reason=f"number {number}", initiator="alice")
        service.end_sessions(subject="bob", reason="moved to Åland", initiator="Alice")
        service.named("other").reset_key(reason="elsewhere", initiator="carol")
    return run


def rows(cli: Keyturn, *options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cli("history", "--json", *options).stdout.splitlines()]


def test_a_table_says_how_much_there_is_and_how_to_see_it(long: Keyturn) -> None:
    first = long("history").stdout
    page = long("history", "--newest-first", "--after", "11").stdout

    assert "50 of 60 changes: --limit 60, or --newest-first --after 11" in first
    assert "number 9\n" not in first  # of position 11; the table pads its lines
    assert "number 8" in page
    assert "generated" in page


def test_at_80_columns_every_word_of_who_and_why_stands_whole(long: Keyturn) -> None:
    shown = long("history", "--limit", "3").stdout

    assert max(map(len, shown.splitlines())) <= 80
    assert "moved to Åland" in shown
    assert "(recorded by " in shown
    assert "█" not in shown


@pytest.mark.parametrize(
    ("options", "positions"),
    [
        (("--search", "ÅLAND"), [60]),
        (("--search", "bob"), [60]),
        (("--by", "Alice"), [60]),
        (("--since", "7d", "--kind", "generated"), [1]),
        (("--until", "7d"), []),
    ],
)
def test_changes_are_found(long: Keyturn, options: tuple[str, ...], positions: list[int]) -> None:
    assert [row["position"] for row in rows(long, *options)] == positions


def test_changes_are_found_by_the_id_of_a_key(long: Keyturn) -> None:
    key_id = rows(long, "--generation", "5")[0]["key_id"]

    (row,) = rows(long, "--key-id", key_id)

    assert row["generation"] == 5


def test_all_managers_are_shown_together_in_the_order_of_time(long: Keyturn) -> None:
    every = rows(long, "--all")
    newest = rows(long, "--all", "--newest-first", "--limit", "2")

    assert [row["manager"] for row in every[-3:]] == ["default", "other", "other"]
    assert [row["manager"] for row in newest] == ["other", "other"]
    assert "other" in long("history", "--all", "--limit", "2").stdout
    assert long("history", "--all", "--csv").stdout.count(",other,") == 2


def test_nothing_is_never_silent(long: Keyturn) -> None:
    empty = long("history", "--by", "nobody")
    unknown = long("--name", "defualt", "history", code=os.EX_NOINPUT)
    too_early = long("history", "--at", "2000-01-01")

    assert (empty.stdout, "nothing fits" in empty.stderr) == ("", True)
    assert "no manager 'defualt': there are 'default', 'other'" in unknown.stderr
    assert "no key was current then" in too_early.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--at", "2026-01-01", "--by", "alice"),
        ("--follow", "--newest-first"),
        ("--all", "--after", "3"),
        ("--since", "2026-13-01"),
        ("--since", "2026"),
        ("--limit", "0"),
        ("--limit", "9" * 20),
        ("--after", "9" * 20),
        ("--after", "-1"),
    ],
)
def test_what_does_not_go_together_is_one_line(long: Keyturn, options: tuple[str, ...]) -> None:
    done = long("history", *options, code=os.EX_USAGE)

    assert done.stderr.count("\n") == 1


def test_the_history_of_an_export_needs_nothing_of_ours(long: Keyturn, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_text(long("export").stdout)
    auditor = Keyturn(tmp_path / "nowhere")

    assert rows(auditor, "--export", str(file)) == rows(long)
    assert rows(auditor, "--export", str(file), "--all") == rows(long, "--all")
    assert not auditor.folder.exists()


def test_a_damaged_export_is_not_shown_as_a_history(long: Keyturn, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_text(long("export").stdout.replace("number 7", "number 0"))

    done = long("history", "--export", str(file), code=os.EX_DATAERR)

    assert (done.stdout, "line 10" in done.stderr) == ("", True)


def test_whoever_follows_sees_each_change_and_ends_with_an_interrupt(tmp_path: Path) -> None:
    cli = Keyturn(tmp_path / "data")
    cli("init", "--no-password")
    following = subprocess.Popen(
        [*COMMAND, "--path", str(cli.folder), "history", "--follow", "--all"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=cli.environment | {"PYTHONUNBUFFERED": "1"},
    )
    guard = threading.Timer(60, following.kill)
    guard.start()
    try:
        assert following.stdout is not None
        assert following.stderr is not None
        while "generated" not in following.stdout.readline():
            pass
        cli("reset", "--reason", "laptop stolen", "--initiator", "alice")
        cli("--name", "new", "init")
        followed = ""
        while "new 1" not in followed:
            followed += following.stdout.readline()
        following.send_signal(signal.SIGINT)
        code, complaint = following.wait(), following.stderr.read()
        following.stdout.close()
        following.stderr.close()
    finally:
        guard.cancel()
        following.kill()

    assert "default 2  reset, key 2, by alice" in followed
    assert "laptop stolen" in followed
    assert (code, complaint.strip()) == (130, "")


def test_whoever_follows_sees_no_change_twice_however_late_it_was_made(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        histories = _Histories(service.log, "default")
        service.reset_key()  # after it was noted where the history ends, before it is read
        first = list(histories.changes(keyturn.HistoryFilter()))
        service.reset_key()

        followed = next(histories.follow(keyturn.HistoryFilter()))

    assert [change.position for change in first] == [1]
    assert followed.position == 2


def change_with(reason: str) -> KeyChange:
    return KeyChange(1, "reset", 1, "k", datetime.now(UTC), "x", reason, "v", "d", None)


@pytest.mark.parametrize(
    "reason",
    [
        "=cmd()",
        " +1",
        "\t-1",
        "\u00a0@x",
        "\uff1dcmd()",
        "a;=cmd()",
        'a,"=cmd()',
        "a\t=1",
        "a|=1",
        "a\n=1",
        "a\r=1",
    ],
)
def test_no_cell_of_the_csv_is_a_formula(reason: str) -> None:
    (row,) = csv.DictReader([csv_header(), csv_line(change_with(reason))])

    for sign in "=+-@\uff1d":
        before = row["reason"].partition(sign)[0]
        assert before.endswith("'") or before == row["reason"]


@pytest.mark.parametrize("reason", ["naïve, really", "a-b", "1 + 1", "a = b"])
def test_a_harmless_text_stays_as_it_is_in_csv(reason: str) -> None:
    (row,) = csv.DictReader([csv_header(), csv_line(change_with(reason))])

    assert row["reason"] == reason


def test_json_shows_a_terminal_nothing_that_it_might_obey() -> None:
    text = "a\x9b31m\x7f\u202e\u2028\U000e0001é日"

    line = json_line(change_with(text))

    assert line.isprintable()
    assert json.loads(line)["reason"] == text
    assert "é日" in line
