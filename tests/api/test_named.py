"""Many managers of one log in one process: `service.named`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import Service, Settings, testing
from keyturn.domain.errors import (
    AuditTextError,
    LogClosedError,
    LogRolledBackError,
    ManagerNotFoundError,
    SessionManagerNotRunningError,
)
from keyturn.testing import ManualClock
from tests.descriptors import open_below

pytestmark = pytest.mark.usefixtures("each_shared_store")


def reasons(service: Service) -> list[str | None]:
    return [change.reason for change in service.history()]


def test_a_named_service_is_a_manager_of_its_own(service: Service) -> None:
    tenant = service.named("tenant-7")
    token = tenant.create_token()

    service.reset_key("of the other")

    assert tenant.verify_token(token)
    assert not service.verify_token(token)
    assert (reasons(tenant), reasons(service)) == ([None], [None, "of the other"])


def test_a_reset_of_a_named_service_leaves_all_others_alone(service: Service) -> None:
    one, other = service.named("one"), service.named("other")
    tokens = {each: each.create_token() for each in (service, one, other)}

    one.reset_key()

    assert [each.verify_token(token) for each, token in tokens.items()] == [True, False, True]


def test_what_opens_the_log_by_that_name_shares_its_keys(
    service: Service, tmp_path: Path
) -> None:
    token = service.named("tenant-7").create_token()

    with keyturn.open(path=tmp_path / "data", password=None, name="tenant-7") as other:
        was_good = other.verify_token(token)
        other.reset_key()

    assert was_good
    assert not service.named("tenant-7").verify_token(token)


def test_the_same_name_gives_the_same_service(service: Service) -> None:
    tenant = service.named("tenant-7")

    assert service.named("tenant-7") is tenant
    assert tenant.named("tenant-7") is tenant
    assert service.named("default") is service
    assert tenant.named("default") is service
    assert tenant.named("other") is service.named("other")


def test_many_threads_that_ask_for_one_name_share_one_service(service: Service) -> None:
    together = threading.Barrier(8, timeout=30)

    def find(_: int) -> Service:
        together.wait()
        return service.named("tenant-7")

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(find, range(8)))

    assert len(found) == 1
    assert reasons(found.pop()) == [None]


def test_a_name_that_nobody_made_is_refused_where_nothing_may_be_made(
    service: Service, tmp_path: Path
) -> None:
    service.named("tenant-7")
    with pytest.raises(ManagerNotFoundError, match="'tenant-7'"):
        service.named("tenant-8", create=False)

    with keyturn.open(path=tmp_path / "data", password=None, create=False) as server:
        tenant = server.named("tenant-7")
        with pytest.raises(ManagerNotFoundError):
            tenant.named("tenant-8")
        server.named("tenant-9", create=True)

        names = [state.name for state in server.managers()]

    assert names == ["default", "tenant-7", "tenant-9"]


def test_the_managers_of_a_log_are_listed_with_their_newest_event(service: Service) -> None:
    service.named("tenant-7").reset_key()
    gone = service.named("gone")
    gone.stop()
    gone.destroy(purge=True)

    states = service.managers()

    assert [(s.name, s.generation, s.position, s.is_destroyed) for s in states] == [
        ("default", 1, 1, False),
        ("gone", 1, 2, True),
        ("tenant-7", 2, 2, False),
    ]
    assert states[2].changed_at == list(service.named("tenant-7").history())[-1].at


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 101, 5, None, []])
def test_a_name_that_cannot_be_recorded_is_refused(service: Service, name: Any) -> None:
    with pytest.raises(AuditTextError):
        service.named(name)


def test_a_named_service_has_the_settings_of_its_parent(tmp_path: Path) -> None:
    clock = ManualClock(1_000_000)
    settings = Settings(path=tmp_path, expiry=60, max_lifetime=100, initiator="the host")
    with keyturn.open(settings, password=None, clock=clock) as service:
        tenant = service.named("tenant-7")
        token = tenant.create_token()
        clock.advance(50)
        refreshed = tenant.refresh_token(token)
        clock.advance(40)

        assert (tenant.verify_token(token), tenant.verify_token(refreshed)) == (False, True)
        clock.advance(20)
        assert not tenant.verify_token(refreshed)
        assert {change.initiator for change in tenant.history()} == {"the host"}
        assert (tenant.node_id, tenant.clock) == (service.node_id, clock)


def test_a_named_service_does_all_that_its_parent_does(service: Service, tmp_path: Path) -> None:
    tenant = service.named("tenant-7")

    with tenant.transaction() as tran:
        tenant.reset_key("in a transaction", tran=tran)
    keyturn.ask(tenant.manager, keyturn.ResetKey("by a message"))
    session = tenant.session(tmp_path / "token", tenant.create_token())
    report = tenant.inspect_token(session.read_token())
    tenant.stop()
    tenant.start(fresh=True)

    assert reasons(tenant) == [None, "in a transaction", "by a message", "fresh start"]
    assert (report.valid, report.generation) == (True, 3)
    assert tenant.audit(tenant.checkpoint()).holds


def test_a_named_service_whose_actor_died_comes_back_as_itself(service: Service) -> None:
    tenant = service.named("tenant-7")
    token = tenant.create_token()
    tenant.manager.stop()

    keyturn.ask(tenant.manager, keyturn.ResetKey("after"))

    assert not tenant.verify_token(token)
    assert reasons(tenant) == [None, "after"]


def test_g5_a_rolled_back_named_manager_is_refused_and_accepted_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    place: dict[str, Any] = {"path": folder, "store": f"sqlite:///{folder}/keyturn.db"}
    with keyturn.open(**place, password=None) as service:
        token = service.named("tenant-7").create_token()
    old = (folder / "keyturn.db").read_bytes()
    with keyturn.open(**place, password=None) as service:
        service.named("tenant-7").reset_key()
    (folder / "keyturn.db").write_bytes(old)

    with keyturn.open(**place, password=None) as service:
        with pytest.raises(LogRolledBackError, match="tenant-7"):
            service.named("tenant-7")
        keyturn.open(**place, password=None, name="tenant-7", accept_rollback=True).close()

        assert not service.named("tenant-7").verify_token(token)


# --- closing -----------------------------------------------------------------------------------

USES: dict[str, Callable[[Service], object]] = {
    "create_token": lambda s: s.create_token(),
    "verify_token": lambda s: s.verify_token(""),
    "inspect_token": lambda s: s.inspect_token(""),
    "reset_key": lambda s: s.reset_key(),
    "history": lambda s: list(s.history()),
    "audit": lambda s: s.audit(),
    "checkpoint": lambda s: s.checkpoint(),
    "named": lambda s: s.named("another"),
    "named as itself": lambda s: s.named("tenant-7"),
    "stop": lambda s: s.stop(),
    "managers": lambda s: s.managers(),
    "session": lambda s: s.session("token"),
    "log": lambda s: s.log,
}


@pytest.fixture(params=["closed by itself", "closed with its parent"])
def closed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    with keyturn.open(path=tmp_path / "data", password=None) as service:
        tenant = service.named("tenant-7")
        if request.param == "closed by itself":
            tenant.close()
            yield tenant
            return
    yield tenant


def test_a_closed_named_service_says_so(closed: Service) -> None:
    for use in USES.values():
        with pytest.raises((SessionManagerNotRunningError, LogClosedError), match="close"):
            use(closed)


def test_a_named_service_that_was_closed_is_opened_anew_by_its_name(service: Service) -> None:
    tenant = service.named("tenant-7")
    token = tenant.create_token()
    tenant.close()
    tenant.close()

    anew = service.named("tenant-7")

    assert anew is not tenant
    assert anew.verify_token(token)
    assert reasons(anew) == [None]


def test_to_close_one_service_leaves_the_others_of_its_log_open(service: Service) -> None:
    one, other = service.named("one"), service.named("other")

    one.close()

    assert other.verify_token(other.create_token())
    assert service.verify_token(service.create_token())


def test_a_name_that_is_asked_of_a_closed_service_is_a_clear_error(tmp_path: Path) -> None:
    service = keyturn.open(path=tmp_path, password=None)
    service.close()

    for name in ("default", "tenant-7"):
        with pytest.raises(SessionManagerNotRunningError, match="closed: open it again"):
            service.named(name)


def test_closing_ends_every_thread(tmp_path: Path) -> None:
    before = set(pykka.ActorRegistry.get_all())
    with keyturn.open(path=tmp_path, password=None) as service:
        for number in range(10):
            service.named(f"tenant-{number}")
        assert len(set(pykka.ActorRegistry.get_all()) - before) == 11

    assert set(pykka.ActorRegistry.get_all()) <= before


# --- many --------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's list of files")
def test_named_services_share_one_log_and_so_its_open_files(
    service: Service, tmp_path: Path
) -> None:
    service.named("tenant").create_token()
    before = open_below(tmp_path)

    for number in range(50):
        tenant = service.named(f"tenant-{number}")
        assert tenant.verify_token(tenant.create_token())

    assert open_below(tmp_path) <= before + 10  # a few connections are shared by all


def test_a_memory_log_has_named_services_too() -> None:
    with keyturn.open(store="memory:") as service:
        token = service.named("tenant-7").create_token()

        assert service.named("tenant-7").verify_token(token)
        assert not service.verify_token(token)


def test_a_named_service_rotates_its_key_by_itself_as_its_parent_does() -> None:
    with testing.open_service(rotate_every=86400) as service:
        tenant = service.named("tenant-7")

        tenant.clock.advance(86401)

        assert [change.kind for change in tenant.history()] == ["generated", "rotated"]
        assert [change.kind for change in service.history()] == ["generated", "rotated"]


def test_an_asynchronous_service_has_named_services(tmp_path: Path) -> None:
    async def main() -> tuple[bool, bool]:
        async with keyturn.open_async(path=tmp_path, password=None) as service:
            tenant = await service.named("tenant-7")
            token = await tenant.create_token()
            again = await service.named("tenant-7")
            return await again.verify_token(token), await service.verify_token(token)

    assert asyncio.run(main()) == (True, False)
