"""What a service, many tokens and many managers cost in memory; measured on real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's account of memory"
)

PRELUDE = """
import gc, json, os, sys, threading
import keyturn
keyturn.open  # loads what a service needs

def memory(kind="Anonymous"):  # which no other process has a share of
    gc.collect()
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(f"{kind}:"))

def open_it():
    return keyturn.open(path=sys.argv[1], password=None)
"""

IDLE = """
before = memory("Rss")
service = open_it()
assert service.verify_token(service.create_token())
print(json.dumps(memory("Rss") - before))
"""

TOKENS = """
service = open_it()

def use(times):
    for number in range(times):
        token = service.create_token(claims={"number": number})
        assert service.verify_token(token)
    assert not service.verify_token(token[:-1])

use(2_000)
before = memory()
use(int(sys.argv[2]))
print(json.dumps(memory() - before))
"""

MANAGERS = """
service = open_it()
service.named("the first").create_token()
before, files = memory(), len(os.listdir("/proc/self/fd"))
tenants = [service.named(f"tenant-{number}") for number in range(int(sys.argv[2]))]
tokens = [tenant.create_token() for tenant in tenants]
cost = memory() - before
tenants[0].reset_key()
good = sum(tenant.verify_token(token) for tenant, token in zip(tenants, tokens))
threads, files = threading.active_count(), len(os.listdir("/proc/self/fd")) - files
print(json.dumps([cost / len(tenants), good, threads, files]))
service.close()
"""


def measured(code: str, folder: Path, *arguments: int) -> Any:
    """Run it in a process of its own, and return what it printed."""
    command = [sys.executable, "-c", PRELUDE + code, str(folder), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=110)
    return json.loads(done.stdout)


def test_a_service_that_is_open_and_idle_costs_at_most_8_mb(tmp_path: Path) -> None:
    assert measured(IDLE, tmp_path) <= 8 * 1024


@pytest.mark.parametrize("tokens", [20_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_tokens_that_were_minted_and_verified_leave_nothing(tokens: int, tmp_path: Path) -> None:
    growth = measured(TOKENS, tmp_path, tokens)

    assert growth <= 512  # KiB: 26 bytes for each of 20,000


@pytest.mark.parametrize("managers", [50, pytest.param(2_000, marks=pytest.mark.soak)])
def test_named_managers_on_one_log_cost_a_thread_and_at_most_100_kb_each(
    managers: int, tmp_path: Path
) -> None:
    cost, good, threads, files = measured(MANAGERS, tmp_path, managers)

    assert cost <= 100  # KiB
    assert good == managers - 1
    assert threads == managers + 3
    assert files <= 10  # those of connections that all of them share
