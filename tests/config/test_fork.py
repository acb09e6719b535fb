"""A process that forks while it has a SQLite log open: children, workers, their parent [G1, G2].

SQLite thinks that a forked child holds the locks of its parent. If a connection came along, the
last one that closes elsewhere would remove the write-ahead log from under the child.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.config.forking import IN_CHILD

from . import warm_processes

PRELUDE = (
    """
import contextlib, gc, multiprocessing, os, sys, threading, warnings
import keyturn
from keyturn.domain.errors import KeyturnError, LogClosedError
from tests.heads import keys_at_head

path = sys.argv[1]


def open_it():
    return keyturn.open(path=path, password=None)
"""
    + IN_CHILD
    + """
def tell(pipe):
    os.write(pipe[1], b".")


def wait_for(pipe):
    os.read(pipe[0], 1)


def reasons():
    with open_it() as service:
        return [change.reason for change in service.history()]
"""
)


@pytest.fixture
def run(each_shared_store: None, tmp_path: Path) -> Callable[[str], list[str]]:
    """Run a piece of Python behind the prelude, and return the lines it printed."""
    return lambda code: printed_by(code, tmp_path)


@pytest.fixture
def run_on_sqlite(tmp_path: Path) -> Callable[[str], list[str]]:
    """The same, with the log in the data folder."""
    return lambda code: printed_by(code, tmp_path)


def printed_by(code: str, folder: Path) -> list[str]:
    return warm_processes.run(PRELUDE + code, folder / "data").stdout.splitlines()


Run = Callable[[str], list[str]]


# --- a service opened anew in the child --------------------------------------------------------


def test_g1_a_reset_acknowledged_in_a_child_outlives_the_close_of_its_parents_service(
    run: Run,
) -> None:
    printed = run("""
opened, closed = os.pipe(), os.pipe()
service = open_it()

def work():
    with open_it() as anew:
        tell(opened)
        wait_for(closed)
        anew.reset_key("by the child")
        os._exit(0)  # like a kill: the log is not closed

outcome = in_child(work)
wait_for(opened)
service.close()
tell(closed)
with contextlib.suppress(SyntaxError):
    outcome()
print(reasons())
""")

    assert printed == ["[None, 'by the child']"]


def test_g2_a_reset_by_others_is_seen_in_a_child_whose_parents_service_was_closed(
    run: Run,
) -> None:
    printed = run("""
opened, closed = os.pipe(), os.pipe()
service = open_it()

def work():
    with open_it() as anew:
        token = anew.create_token()
        tell(opened)
        wait_for(closed)
        return anew.verify_token(token)

outcome = in_child(work)
wait_for(opened)
service.close()
with open_it() as other:
    other.reset_key()
tell(closed)
print(outcome())
""")

    assert printed == ["False"]


def test_g1_workers_of_a_server_that_forks_lose_nothing_whoever_ends_first(run: Run) -> None:
    printed = run("""
gates = [(os.pipe(), os.pipe()) for _ in range(4)]
master = open_it()

def work(number):
    ready, go = gates[number]
    service = open_it()
    tell(ready)
    wait_for(go)
    for count in range(5):
        service.reset_key(f"worker {number} reset {count}")
    service.close()
    return "done"

workers = [in_child(lambda: work(number)) for number in range(4)]
for ready, _ in gates:
    wait_for(ready)
master.reset_key("by the master")
master.close()
for _, go in gates:
    tell(go)
print([worker() for worker in workers])
found = reasons()
print(len(found), len(set(found)))
with open_it() as service:
    print(service.audit().holds)
""")

    assert printed == [str(["done"] * 4), "22 22", "True"]


def test_g1_children_forked_while_other_threads_reset_can_all_open_the_log_anew(
    run: Run,
) -> None:
    printed = run("""
service, stop = open_it(), threading.Event()
acknowledged = [[], []]

def reset(number):
    count = 0
    while not stop.wait(0.002):
        service.reset_key(f"thread {number} reset {count}")
        acknowledged[number].append(f"thread {number} reset {count}")
        count += 1

def work(number):
    with open_it() as anew:
        anew.reset_key(f"child {number}")
        return "reset"

threads = [threading.Thread(target=reset, args=(number,)) for number in range(2)]
for thread in threads:
    thread.start()
children = [in_child(lambda: work(number))() for number in range(6)]
stop.set()
for thread in threads:
    thread.join()
service.close()
print(children)
expected = [None, *acknowledged[0], *acknowledged[1], *(f"child {n}" for n in range(6))]
print(sorted(map(str, reasons())) == sorted(map(str, expected)))
""")

    assert printed == [str(["reset"] * 6), "True"]


def test_a_child_forked_while_another_thread_starts_an_actor_can_start_its_own(run: Run) -> None:
    printed = run("""
import pykka
holding = threading.Event()

def hold():
    with pykka.ActorRegistry._actor_refs_lock:
        holding.set()
        threading.Event().wait(0.2)

thread = threading.Thread(target=hold)
thread.start()
holding.wait()
print(in_child(lambda: open_it().verify_token(""))())
thread.join()
""")

    assert printed == ["False"]


def test_a_child_of_multiprocessing_can_open_the_log_anew(run: Run) -> None:
    printed = run("""
def work(number):
    with open_it() as anew:
        anew.reset_key(f"process {number}")

service = open_it()
fork = multiprocessing.get_context("fork")
processes = [fork.Process(target=work, args=(number,)) for number in range(3)]
for process in processes:
    process.start()
for process in processes:
    process.join(30)
print([process.exitcode for process in processes])
service.close()
print(sorted(reasons()[1:]))
""")

    assert printed == ["[0, 0, 0]", "['process 0', 'process 1', 'process 2']"]


def test_g2_a_parent_that_forked_goes_on_and_accepts_nothing_stale(run: Run) -> None:
    printed = run("""
service = open_it()
token = service.create_token()

def work():
    with open_it() as anew:
        anew.reset_key("by the child")
        return "reset"

before = service.verify_token(token)
print(before, in_child(work)(), service.verify_token(token))
service.reset_key("by the parent")
service.close()
print(reasons())
""")

    assert printed == ["True reset False", "[None, 'by the child', 'by the parent']"]


def test_a_child_of_a_process_that_was_reading_the_whole_log_is_told_not_to_open_it(
    run_on_sqlite: Run,
) -> None:
    printed = run_on_sqlite("""
service = open_it()
rows = service.log.rows()
next(rows)

def work():
    errors = []
    for use in (open_it, lambda: next(rows)):
        try:
            use()
        except LogClosedError as error:
            errors.append(path in str(error) and "fork" in str(error))
    return errors

print(in_child(work)())
print(len(list(rows)))
service.reset_key("by the parent")
print(in_child(lambda: open_it().verify_token("") or "opened")())
service.close()
print(reasons())
""")

    assert printed == ["[True, True]", "0", "opened", "[None, 'by the parent']"]


def test_a_child_reads_nothing_through_what_its_parent_was_reading_with(run: Run) -> None:
    printed = run("""
service = open_it()
service.end_sessions(sids=[f"session {number}" for number in range(1200)])
rows = service.log.rows()
for _ in range(10):
    next(rows)

def work():
    global rows
    try:
        read = len(list(rows))
    except LogClosedError as error:
        read = "fork" in str(error)
    rows = None
    gc.collect()
    return read

print(in_child(work)() in (True, 490))
print(len(list(rows)))
service.reset_key("by the parent")
print(service.audit().holds)
""")

    assert printed == ["True", "1191", "True"]


# --- the service of the parent, in the child ---------------------------------------------------


def test_what_was_taken_from_a_service_before_a_fork_is_refused_in_the_child_at_once(
    run: Run,
) -> None:
    printed = run("""
import datetime, pykka
now = datetime.datetime.now(datetime.UTC)
service = open_it()
ref, proxy, log = service.manager, service.manager.proxy(), service.log
session = service.session(path + "/token", service.create_token())

def work():
    outcomes = []
    for use in (
        lambda: keyturn.ask(ref, keyturn.SetupKey(), timeout=20),
        lambda: proxy.create_token().get(timeout=20),
        lambda: service.transaction().__enter__(),
        lambda: service.session(path + "/other"),
        lambda: session.read_token(),
        lambda: keys_at_head(log, "default"),
        lambda: next(log.rows()),
        lambda: service.audit(),
        lambda: service.checkpoint(),
        lambda: service.key_at(now),
        lambda: service.start(),
        lambda: service.destroy(),
    ):
        try:
            use()
        except (KeyturnError, pykka.ActorDeadError) as error:
            outcomes.append("fork" in str(error) or "open it again" in str(error))
    pykka.ActorRegistry.stop_all(timeout=20)
    try:
        ref.tell("nothing")
    except pykka.ActorDeadError as error:
        outcomes.append("fork" in str(error))
    return outcomes

print(in_child(work)())
print(keyturn.ask(ref, keyturn.SetupKey()).generation, session.read_token() is not None)
service.close()
""")

    assert printed == [str([True] * 13), "1 True"]


def test_a_transaction_that_a_child_was_forked_in_ends_there_with_an_error(run: Run) -> None:
    printed = run("""
service = open_it()

def leave(tran, stack):
    try:
        stack.close()
    except Exception as error:
        return "fork" in str(error)

with contextlib.ExitStack() as stack:
    tran = stack.enter_context(service.transaction())
    service.reset_key("in the transaction", tran=tran)
    print(in_child(lambda: leave(tran, stack))())
service.close()
print(reasons())
""")

    assert printed == ["True", "[None, 'in the transaction']"]


def test_a_child_leaves_its_parents_service_without_a_warning_and_without_waiting(
    run: Run,
) -> None:
    printed = run("""
warnings.simplefilter("error")
unraised = []
sys.unraisablehook = unraised.append
service = open_it()
held = [service._lock, service.parts.reader._lock]
holding, release = threading.Event(), threading.Event()

def hold():
    with contextlib.ExitStack() as stack:
        for lock in held:
            stack.enter_context(lock)
        holding.set()
        release.wait()

def close():
    service.close()
    with service:
        pass
    return "closed"

def drop():
    global service
    del service
    gc.collect()
    return unraised

thread = threading.Thread(target=hold)
thread.start()
holding.wait()
print(in_child(close)(), in_child(drop)())
release.set()
thread.join()
print(service.verify_token(service.create_token()))
service.close()
""")

    assert printed == ["closed []", "True"]


def test_ids_of_tokens_are_never_those_of_the_parent_or_of_another_child(run: Run) -> None:
    printed = run("""
service = open_it()

def ids(service):
    tokens = [service.create_token() for _ in range(20)]
    return [service.inspect_token(token).claims["jti"] for token in tokens]

def work():
    with open_it() as anew:
        return ids(anew)

ours = ids(service)[:10]
theirs = [in_child(work) for _ in range(3)]
everybody = ours + ids(service) + [id for outcome in theirs for id in outcome()]
print(len(everybody), len(set(everybody)))
service.close()
""")

    assert printed == ["90 90"]


def test_a_memory_log_goes_on_in_the_child_with_a_copy_of_its_own(run: Run) -> None:
    printed = run("""
log, ring = keyturn.open_event_log("memory:"), keyturn.KeyRing.ephemeral()
manager = keyturn.SessionManager.start(log, ring)

def work():
    anew = keyturn.SessionManager.start(log, ring)
    keyturn.ask(anew, keyturn.ResetKey())
    return keys_at_head(log, "default").generation

print(in_child(work)(), keys_at_head(log, "default").generation)
manager.stop()
""")

    assert printed == ["2 1"]


def test_a_fork_waits_for_the_end_of_a_thread_that_was_called_just_before() -> None:
    done = warm_processes.run("""
import os, threading
from keyturn.config.threads import in_thread

for _ in range(30):
    number = in_thread(threading.get_native_id)
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert number not in map(int, os.listdir("/proc/self/task"))
    os.waitpid(child, 0)
print("ended")
""")

    assert done.stdout == "ended\n"
