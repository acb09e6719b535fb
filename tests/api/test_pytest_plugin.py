"""The pytest plugin, as a host meets it: installed, in a run of pytest of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyturn import KeyRing, SessionKeys, open_event_log
from keyturn.actors.key_writer import new_secret
from keyturn.domain.session_keys import Origin
from keyturn.projections.export import export_lines
from keyturn.testing import ClockedAsyncService, Replay  # noqa: F401 - stay loaded after a host

pytest_plugins = ["pytester"]

WITHOUT = ("-p", "no:cacheprovider", "-p", "no:asyncio")


@pytest.fixture
def host(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder for the tests of a host, where warnings are errors too."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\nfilterwarnings = error")
    return pytester


def run(host: pytest.Pytester, test_file: str, *options: str) -> pytest.RunResult:
    """Run a host's tests in this process: the same plugin, loaded in the same way."""
    host.makepyfile(test_file)
    return host.runpytest_inprocess(*WITHOUT, *options)


def test_a_host_has_both_fixtures_without_asking(host: pytest.Pytester) -> None:
    result = run(
        host,
        """
        from keyturn import ResetKey
        from keyturn.testing import Generated, Reset

        def test_service(keyturn_service):
            assert keyturn_service.verify_token(keyturn_service.create_token())

        def test_replay(replay):
            replay.given(Generated(initiator="ops")).when(ResetKey()).then(Reset(generation=2))
        """,
    )

    result.assert_outcomes(passed=2)


def test_the_clock_of_the_service_expires_its_tokens(host: pytest.Pytester) -> None:
    result = run(
        host,
        """
        def test_an_hour_later(keyturn_service):
            token = keyturn_service.create_token(expiry=1800)

            keyturn_service.clock.advance(3600)

            assert not keyturn_service.verify_token(token)
        """,
    )

    result.assert_outcomes(passed=1)


def test_each_test_has_a_service_and_a_history_of_its_own(host: pytest.Pytester) -> None:
    result = run(
        host,
        """
        import pytest

        @pytest.mark.parametrize("time", [1, 2])
        def test_it_is_new(keyturn_service, replay, time):
            assert keyturn_service.checkpoint().position == 1
            assert replay.service.checkpoint().position == 1
            assert keyturn_service.node_id != replay.service.node_id
            keyturn_service.reset_key()
            replay.service.reset_key()
        """,
    )

    result.assert_outcomes(passed=2)


def test_a_failure_shows_the_difference_and_the_line_of_the_host(host: pytest.Pytester) -> None:
    result = run(
        host,
        """
        from keyturn import ResetKey
        from keyturn.testing import Reset, Rotated

        def test_that_fails(replay):
            replay.when(ResetKey(reason="laptop lost", initiator="alice"))
            replay.then(Reset(reason="laptop stolen"), Rotated())
        """,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '>       replay.then(Reset(reason="laptop stolen"), Rotated())',
            "E       AssertionError: after ResetKey(*) (- expected, + happened):",
            "E         - Reset(reason='laptop stolen')",
            "E         + Reset(initiator='alice', reason='laptop lost', generation=2)",
            "E         ?   reason: expected 'laptop stolen', was 'laptop lost'",
            "E         - Rotated()",
            "test_a_failure_*.py:6: AssertionError",
        ]
    )
    result.stdout.no_fnmatch_line("*replay.py:*")


def test_an_error_that_no_then_looked_at_is_an_error_of_the_test(host: pytest.Pytester) -> None:
    result = run(
        host,
        """
        from keyturn import CreateToken

        def test_that_forgets_then(replay):
            replay.when(CreateToken(expiry=-1))
        """,
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E *ExpiryError: *"])


def test_an_export_becomes_the_given(host: pytest.Pytester) -> None:
    key_ring, log = KeyRing.ephemeral(), open_event_log("memory:")
    keys = SessionKeys.blank("default")
    keys.regenerate(new_secret(), key_ring, Origin.now("ops"))
    keys.reset(new_secret(), key_ring, Origin.now("alice", "laptop stolen"))
    log.append(keys)
    lines = b"".join(export_lines(log.rows(), key_ring.node_id))
    Path(host.path, "history.jsonl").write_bytes(lines)
    log.close()

    result = run(
        host,
        """
        from keyturn import VerifyToken

        def test_a_token_of_then(replay):
            replay.load("history.jsonl")

            replay.when(VerifyToken(replay.token(generation=1, age=30))).then_reply(False)
            replay.when(VerifyToken(replay.token(generation=2, age=30))).then_reply(True)
        """,
    )

    result.assert_outcomes(passed=1)


def test_nothing_of_keyturn_is_imported_before_a_fixture_is_used(host: pytest.Pytester) -> None:
    host.makepyfile(
        """
        import sys

        def test_before():
            found = {name for name in sys.modules if name.startswith("keyturn")}
            assert found == {"keyturn", "keyturn.testing", "keyturn.testing.plugin"}
            slow = {"pykka", "eventsourcing", "structlog", "msgspec", "cryptography"}
            assert slow.isdisjoint(sys.modules)

        def test_after(replay):
            assert "keyturn.testing.replay" in sys.modules
            assert "keyturn.aio" not in sys.modules
        """
    )

    result = host.runpytest_subprocess(*WITHOUT, timeout=60)

    result.assert_outcomes(passed=2)


def test_snapshots_are_written_when_pytest_is_told_so(host: pytest.Pytester) -> None:
    test_file = """
        from keyturn import ResetKey

        def test_theft(replay):
            replay.when(ResetKey(reason="theft")).then_snapshot("theft.txt")
        """
    without = run(host, test_file)
    updated = run(host, test_file, "--keyturn-update")
    again = run(host, test_file)

    without.assert_outcomes(failed=1)
    without.stdout.fnmatch_lines(["E *run pytest with --keyturn-update*"])
    updated.assert_outcomes(passed=1)
    again.assert_outcomes(passed=1)


def test_a_marker_takes_arguments_by_name(host: pytest.Pytester) -> None:
    result = run(
        host,
        """
        import pytest

        @pytest.mark.keyturn(60)
        def test_position(keyturn_service):
            pass

        @pytest.mark.keyturn(expires=60)
        def test_name(keyturn_service):
            pass
        """,
    )

    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["E *TypeError: *takes arguments by name, such as expiry=60"])


def test_the_fixtures_are_described(host: pytest.Pytester) -> None:
    result = host.runpytest_inprocess("--fixtures", "-p", "no:asyncio")

    result.stdout.fnmatch_lines(["keyturn_service -- *", "    A real service in memory*"])
    result.stdout.fnmatch_lines(["keyturn_async_service -- *", "    The same service, awaited*"])
    result.stdout.fnmatch_lines(["replay -- *", "    Replay-based tests*"])
