"""The system's clock is set back by an hour under a running process [G3, G5].

A library that is loaded before libc's own gives the process a clock that this test sets.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import keyturn
from keyturn.projections.findings import FindingKind

COMPILER = shutil.which("cc")
pytestmark = pytest.mark.skipif(
    COMPILER is None or not sys.platform.startswith("linux"),
    reason="needs a C compiler, and Linux's way to load a library first",
)

A_CLOCK_OF_ITS_OWN = """
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    struct stat unused;
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME && stat(getenv("SET_BACK"), &unused) == 0) now->tv_sec -= 3600;
    return result;
}
"""
AN_HOUR_BACK = """
import os, sys, time, keyturn
with keyturn.open(path=sys.argv[1], password=None) as service:
    service.reset_key("before")
    expired, good = service.create_token(expiry=0), service.create_token(expiry=1800)
    began = time.time()
    while service.verify_token(expired):
        time.sleep(0.005)

    open(os.environ["SET_BACK"], "w").close()

    assert time.time() < began - 3000
    print(service.verify_token(expired), service.inspect_token(expired).refusal.name)
    print(service.verify_token(good), service.verify_token(service.create_token()))
    service.reset_key("after")
    print(service.verify_token(good))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("set-back")


@pytest.fixture(scope="module")
def printed(folder: Path) -> list[str]:
    """What a process printed whose clock was set back, with its log in `data`."""
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(A_CLOCK_OF_ITS_OWN)
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", library, source], check=True)
    done = subprocess.run(
        [sys.executable, "-c", AN_HOUR_BACK, str(folder / "data")],
        env={**os.environ, "LD_PRELOAD": str(library), "SET_BACK": str(folder / "set-back")},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def test_g3_after_the_clock_was_set_back_expired_stays_expired_and_good_stays_good(
    printed: list[str],
) -> None:
    assert printed == ["False EXPIRED", "True True", "False"]


def test_g5_the_history_shows_that_the_clock_was_set_back_and_the_audit_warns(
    printed: list[str], folder: Path
) -> None:
    with keyturn.open(path=folder / "data", password=None) as service:
        _, before, after = service.history()
        verdict = service.audit()

    assert (before.reason, after.reason) == ("before", "after")
    assert 3500 < (before.at - after.at).total_seconds() < 3600
    assert verdict.holds
    assert [(finding.kind, finding.position) for finding in verdict.findings] == [
        (FindingKind.CLOCK, 3)
    ]
