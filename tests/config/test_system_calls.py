"""What is synced when, and what becomes of a change whose sync failed [G1, G8]; with strace."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import keyturn

from .second_process import SecondProcess

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")

RESET_AND_REPORT = """
import json, sys, keyturn
from keyturn.domain.errors import LogUnavailableError
with keyturn.open(path=sys.argv[1], password=None) as service:
    for number in range(5):
        before, recorded, message = service.create_token(), True, ""
        try:
            service.reset_key(f"reset {number}")
        except LogUnavailableError as error:
            recorded, message = error.recorded, str(error)
        accepted = service.verify_token(before)
        print(json.dumps([f"reset {number}", recorded, message, accepted]), flush=True)
"""

WRITE_A_FILE = """
import sys
from pathlib import Path
from keyturn.config.files import write_private
write_private(Path(sys.argv[1]) / "file", b"old")
write_private(Path(sys.argv[1]) / "file", b"new")
"""


def strace(options: list[str], code: str, folder: Path) -> list[str]:
    """Run code under strace, and return the lines that it printed."""
    done = subprocess.run(
        [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-qq",
            *options,
            sys.executable,
            "-c",
            code,
            str(folder),
        ],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 1 and not done.stdout:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0
    return done.stdout.splitlines()


def trace(calls: str, code: str, folder: Path, tmp_path: Path) -> list[str]:
    """Return the system calls of a piece of code that concern the folder or standard output."""
    traced = tmp_path / "trace"
    strace(["-y", "-e", f"trace={calls}", "-o", str(traced)], code, folder)
    lines = [re.sub(r"^\d+ +", "", line) for line in traced.read_text().splitlines()]
    return [line for line in lines if str(folder) in line or line.startswith("write(1<")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    keyturn.open(path=folder, password=None).close()
    return folder


# --- the order of calls ------------------------------------------------------------------------


def test_g1_a_private_file_is_synced_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path,
) -> None:
    place = tmp_path / "place"
    place.mkdir()

    lines = trace("write,fsync,fdatasync,/^rename", WRITE_A_FILE, place, tmp_path)

    name, inside = r"\.file\.[0-9a-f]{16}\.tmp", rf"\d+<{re.escape(str(place))}>"
    temp = f"{re.escape(str(place))}/{name}"
    expected = [
        rf'write\(\d+<{temp}>, "(old|new)", 3\) += 3',
        rf"fsync\(\d+<{temp}>\) += 0",
        rf'renameat2?\({inside}, "{name}", {inside}, "file"(, 0)?\) += 0',
        rf"fsync\({inside}\) += 0",
    ]
    assert [
        re.fullmatch(p, line) is not None for p, line in zip(expected * 2, lines, strict=True)
    ]
    assert all(re.fullmatch(p, line) for p, line in zip(expected * 2, lines, strict=True))


def test_g1_a_reset_is_synced_to_the_wal_after_its_last_write_and_before_it_is_acknowledged(
    folder: Path, tmp_path: Path
) -> None:
    lines = trace("write,pwrite64,fsync,fdatasync", RESET_AND_REPORT, folder, tmp_path)

    marks = ""
    for line in lines:
        if "keyturn.db-wal>" in line:
            marks += "S" if "sync(" in line else "w"
        elif line.startswith("write(1<") and "reset" in line:
            marks += "A"
    assert re.fullmatch(r"([wS]*w+S+A){5}S?", marks), marks


# --- failed calls ------------------------------------------------------------------------------

FAULTS = [
    *(f"fdatasync,fsync:error=EIO:when={n}" for n in (1, 3, 5)),
    "fdatasync,fsync:error=EIO:when=2..3",
    "fdatasync,fsync:error=EIO:when=3+",
    *(f"pwrite64:error=EIO:when={n}" for n in (2, 7)),
    "pwrite64:error=ENOSPC:when=5",
    "pwrite64:error=ENOSPC:when=8+",
]
Report = tuple[str, bool | None, str, bool]
"""The reason of a reset, what `recorded` says, the error, whether an old token is still good."""


@dataclass
class Aftermath:
    """What a process that reset five times reported, and what a fresh one found."""

    reports: list[Report]
    found: set[str | None]


def reset_with(fault: str, folder: Path) -> list[Report]:
    """Reset five times while calls that concern the WAL fail, and return the reports."""
    options = ["-o", "/dev/null", "-P", str(folder / "keyturn.db-wal"), "-e", f"inject={fault}"]
    return [tuple(json.loads(line)) for line in strace(options, RESET_AND_REPORT, folder)]


def reasons_in(folder: Path) -> set[str | None]:
    with keyturn.open(path=folder, password=None) as service:
        return {event.reason for event in service.log.key_events("default")}


@pytest.fixture(scope="module", params=FAULTS)
def aftermath(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Aftermath:
    folder = tmp_path_factory.mktemp("fault") / "data"
    keyturn.open(path=folder, password=None).close()
    reports = reset_with(request.param, folder)
    return Aftermath(reports, reasons_in(folder))


def test_g8_after_a_failed_call_recorded_tells_the_truth(aftermath: Aftermath) -> None:
    told = {reason: known for reason, known, *_ in aftermath.reports if known is not None}

    assert told == {reason: reason in aftermath.found for reason in told}


def test_g8_after_a_failed_call_the_error_names_the_log(aftermath: Aftermath) -> None:
    errors = [message for _, _, message, _ in aftermath.reports if message]

    assert errors
    assert all("data/keyturn.db is not available: " in message for message in errors)


def test_g2_after_a_failed_call_a_token_is_good_unless_the_reset_is_in_force(
    aftermath: Aftermath,
) -> None:
    known = [report for report in aftermath.reports if report[1] is not None]

    assert len(aftermath.reports) == 5
    assert [accepted for *_, accepted in known] == [not recorded for _, recorded, *_ in known]


@pytest.mark.parametrize(
    "aftermath", [fault for fault in FAULTS if not fault.endswith("+")], indirect=True
)
def test_g8_after_a_passing_fault_the_service_goes_on(aftermath: Aftermath) -> None:
    assert aftermath.reports[-1][1:3] == (True, "")


def test_g8_a_change_that_is_in_force_although_its_sync_failed_is_reported_as_recorded(
    folder: Path,
) -> None:
    # The second reset's sync fails; the WAL stays, and a recovery finds the whole commit in it.
    reports = reset_with("fdatasync,fsync:error=EIO:when=3", folder)

    in_doubt: list[Any] = [report for report in reports if report[2]]
    assert [(report[0], report[1], report[3]) for report in in_doubt] == [
        ("reset 1", True, False)
    ]


def test_g8_not_recorded_is_final_even_if_all_processes_are_killed_afterwards(
    folder: Path,
) -> None:
    # The last reset's sync fails while another process has the log open. Its frames are in the
    # WAL; nobody sees them, but a recovery would.
    with SecondProcess(folder) as other:
        reports = reset_with("fdatasync,fsync:error=EIO:when=6", folder)
        other.kill()

    assert [recorded for _, recorded, *_ in reports] == [True, True, True, True, False]
    assert "reset 4" not in reasons_in(folder)
