"""A process that forks while it has a SQLite store open: nothing is shared, nothing is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .forking import IN_CHILD
from .sqlite_logs import PRELUDE, run

FORKING = (
    IN_CHILD
    + """
def anew():
    store = SQLiteStore(path)
    position = append(store)
    store.close()
    return position


def refused(use):
    try:
        use()
    except LogClosedError as error:
        return "fork" in str(error)


store = SQLiteStore(path)
append(store)
"""
)

Run = Callable[[str], list[str]]


@pytest.fixture
def printed(tmp_path: Path) -> Run:
    return lambda code: run(FORKING + code, tmp_path / "log.db").splitlines()


def test_a_child_is_refused_its_parents_store_in_every_use(printed: Run) -> None:
    lines = printed("""
rows = store.rows
def work():
    return [refused(use) for use in (
        lambda: append(store), store.changes, lambda: positions(store), lambda: next(rows()),
        store.reopen, lambda: store.exclusive().__enter__(), store.schema_problems,
        store.max_notification_id,
    )] + [store.close(), anew()]

print(in_child(work)(), positions(store), append(store))
""")

    assert lines == [str([True] * 8 + [None, 2]) + " [1, 2] 3"]


def test_g1_children_that_open_it_anew_lose_nothing_whoever_ends_first(printed: Run) -> None:
    lines = printed("""
ready, go = os.pipe(), os.pipe()

def work():
    anew = SQLiteStore(path, lock_timeout=30)
    os.write(ready[1], b".")
    os.close(go[1])
    os.read(go[0], 1)
    done = 0
    while done < 5:
        with contextlib.suppress(IntegrityError):
            append(anew)
            done += 1
    os._exit(0)  # like a kill: it is not closed

children = [in_child(work) for _ in range(4)]
for _ in children:
    os.read(ready[0], 1)
append(store)
store.close()
os.close(go[1])
for child in children:
    with contextlib.suppress(SyntaxError):
        child()
print(len(positions(SQLiteStore(path))))
""")

    assert lines == ["22"]


def test_g1_children_forked_while_threads_read_and_write_can_open_it(printed: Run) -> None:
    lines = printed("""
stop, acknowledged = threading.Event(), []

def write():
    while not stop.is_set():
        with contextlib.suppress(IntegrityError):
            acknowledged.append(append(store))

def read():
    while not stop.is_set():
        positions(store)

threads = [threading.Thread(target=write)] + [threading.Thread(target=read) for _ in range(3)]
for thread in threads:
    thread.start()

def work():
    anew = SQLiteStore(path, lock_timeout=30)
    while True:
        with contextlib.suppress(IntegrityError):
            return append(anew)

longest, outcomes = 0, []
for _ in range(20):
    begun = time.monotonic()
    child = in_child(work)
    longest = max(longest, time.monotonic() - begun)
    outcomes.append(child())
stop.set()
for thread in threads:
    thread.join()
print([one for one in outcomes if type(one) is not int], longest < 0.5)
everything = positions(store)
print(everything == list(range(1, everything[-1] + 1)))
print({*acknowledged, *outcomes} <= {*everything})
""")

    assert lines == ["[] True", "True", "True"]


def test_a_fork_in_the_middle_of_a_long_write_waits_for_a_moment_only(printed: Run) -> None:
    lines = printed("""
writing, forked = threading.Event(), threading.Event()

def events():
    writing.set()
    forked.wait(30)
    yield StoredEvent(ALICE, 2, "keyturn.KeyReset", b"")

thread = threading.Thread(target=lambda: store.insert_events(events()))
thread.start()
writing.wait(30)
begun = time.monotonic()
child = in_child(lambda: [refused(anew), refused(lambda: positions(store))])
print(time.monotonic() - begun < 0.5)
forked.set()
thread.join()
print(child(), positions(store), append(store), in_child(anew)())
""")

    assert lines == ["True", "[True, True] [1, 2] 3 4"]


def test_a_fork_while_all_rows_are_read_leaves_them_to_the_parent(printed: Run) -> None:
    lines = printed("""
append(store)
rows = store.rows()
next(rows)

def work():
    global rows
    outcome = [refused(lambda: next(rows)), refused(anew)]
    rows = None
    gc.collect()
    return outcome

print(in_child(work)(), len(list(rows)), append(store), in_child(anew)())
""")

    assert lines == ["[True, True] 1 3 4"]


def test_g2_what_a_child_commits_is_seen_by_its_parent_at_once(printed: Run) -> None:
    lines = printed("""
seen = store.changes()
in_child(anew)()
print(store.changes() != seen, positions(store))
seen = store.changes()
print(store.changes() == seen)
in_child(anew)()
print(store.changes() != seen, positions(store))
""")

    assert lines == ["True [1, 2]", "True", "True [1, 2, 3]"]


def test_a_child_of_a_child_and_a_daemon_may_open_their_own(printed: Run) -> None:
    lines = printed("""
def child():
    own = SQLiteStore(path)
    append(own)

    def grandchild():
        return [refused(lambda: append(own)), refused(lambda: append(store)), anew()]

    return [in_child(grandchild)(), append(own)]

def daemon():
    os.setsid()
    return in_child(anew)()

print(in_child(child)(), in_child(daemon)(), append(store))
""")

    assert lines == ["[[True, True, 3], 4] 5 6"]


def test_a_fork_that_python_does_not_know_of_is_noticed(printed: Run) -> None:
    lines = printed("""
import ctypes
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    try:
        for use in (lambda: append(store), lambda: positions(store)):
            print(refused(use), flush=True)
    finally:
        os._exit(0)
os.waitpid(pid, 0)
print(append(store), flush=True)
""")

    assert lines == ["True", "True", "2"]


def test_a_child_that_leaves_normally_harms_nothing(
    run_python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    leaving = """
rows = store.rows()
next(rows)
child = os.fork()
if child == 0:
    del rows
    sys.exit(0)
print(os.waitpid(child, 0)[1], append(store), flush=True)
print(positions(store))
"""

    printed = run_python(PRELUDE + FORKING + leaving, tmp_path / "log.db").stdout

    assert printed.splitlines() == ["0 2", "[1, 2]"]


def test_watchers_go_on_in_the_parent_and_may_begin_anew_in_the_child(printed: Run) -> None:
    lines = printed("""
told = threading.Event()
store.watch(told.set)
told.wait(10)

def work():
    own = SQLiteStore(path)
    heard = threading.Event()
    own.watch(heard.set)
    return heard.wait(10)

print(in_child(work)())
told.clear()
append(store)
print(told.wait(10))
""")

    assert lines == ["True", "True"]
