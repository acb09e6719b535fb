"""The kit beside the tools that hosts test with: their tests, in one pytest of their own."""

from __future__ import annotations

import subprocess
import sys
import unittest
from collections.abc import Mapping
from textwrap import dedent
from xml.etree import ElementTree

import pytest

from keyturn import ResetKey
from keyturn.testing import Replay, Reset

INI = """
[pytest]
filterwarnings = error
asyncio_default_fixture_loop_scope = function
addopts = --strict-markers --strict-config -p no:cacheprovider
"""

TOOLS = {
    "pytest_asyncio": """
        import pytest
        from keyturn.testing import Reset

        @pytest.mark.asyncio
        async def test_the_awaited_service(keyturn_async_service):
            token = await keyturn_async_service.create_token(60)
            keyturn_async_service.clock.advance(61)
            assert not await keyturn_async_service.verify_token(token)

        @pytest.mark.asyncio
        async def test_a_replay(replay):
            async def theft():
                await replay.async_service.reset_key(reason="theft")

            await replay.when(theft)
            replay.then(Reset(reason="theft"))
        """,
    "anyio": """
        import anyio
        import pytest
        from keyturn.testing import Reset

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        async def test_the_awaited_service(keyturn_async_service):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keyturn_async_service.reset_key)
            assert [c.kind async for c in keyturn_async_service.history()][1:] == ["reset"]

        async def test_a_replay(replay):
            (await replay.when(replay.async_service.reset_key)).then(Reset())
        """,
    "freezegun": """
        import freezegun
        import keyturn
        import pytest
        from datetime import UTC, datetime
        from keyturn.testing import Reset

        @pytest.fixture
        def freezer():
            with freezegun.freeze_time("2031-05-05"):
                yield

        def test_a_service_is_opened_and_its_key_reset(freezer, tmp_path):
            with keyturn.open(path=tmp_path / "data", password=None) as service:
                service.reset_key()
                service.rotate_key(60)
                token = service.create_token()
                assert service.verify_token(token)
                assert {change.at.year for change in service.history()} == {2031}
                assert service.audit().findings == ()

        def test_the_clock_of_the_kit_begins_at_the_frozen_time(freezer, replay):
            assert replay.clock.now == datetime(2031, 5, 5, tzinfo=UTC)
            replay.when(lambda s: s.reset_key()).then(Reset(at=replay.clock.now))

        def test_nothing_is_frozen_later(tmp_path):
            with keyturn.open(path=tmp_path / "data", password=None) as service:
                service.reset_key()
                assert next(service.history()).at.year < 2031
        """,
    "time_machine": """
        import keyturn
        import pytest
        import time_machine
        from keyturn.testing import Reset

        def test_a_traveller_has_the_time_of_where_it_is():
            with keyturn.open(store="memory:", password=None) as service:
                token = service.create_token(60)
                with time_machine.travel("2031-05-05"):
                    assert not service.verify_token(token)
                    service.reset_key()
                    assert service.inspect_token(service.create_token()).claims["iat"] > 1.9e9

        def test_expiry_is_as_ever_after_it():
            with keyturn.open(store="memory:", password=None) as service:
                assert service.inspect_token(service.create_token()).claims["iat"] < 1.9e9

        @time_machine.travel("2031-05-05", tick=False)
        def test_a_replay(replay):
            replay.when(lambda s: s.reset_key()).then(Reset(age=0))
        """,
    "hypothesis": """
        from hypothesis import given, settings, strategies as st
        from keyturn.testing import Replay, open_service

        @settings(max_examples=5, deadline=None)
        @given(st.integers(1, 10**6))
        def test_each_example_has_a_service_of_its_own(expiry):
            with open_service(expiry=expiry) as service:
                token = service.create_token()
                service.clock.advance(expiry - 1)
                assert service.verify_token(token)
                assert service.checkpoint().position == 1
        """,
    "unittest": """
        import unittest
        import pytest

        class TestHost(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def take(self, keyturn_service):
                self.service = keyturn_service

            def test_a_reset(self):
                token = self.service.create_token()
                self.service.reset_key()
                self.assertFalse(self.service.verify_token(token))

        @pytest.mark.keyturn(expiry=60)
        @pytest.mark.usefixtures("keyturn_service")
        class TestMarked(TestHost):
            def test_a_marker(self):
                token = self.service.create_token()
                self.service.clock.advance(61)
                self.assertFalse(self.service.verify_token(token))
        """,
    "session_scope": """
        import pytest
        from keyturn.testing import open_service

        @pytest.fixture(scope="session")
        def service():
            with open_service() as service:
                yield service

        @pytest.mark.parametrize("position", [1, 2])
        def test_its_history_goes_on(service, position):
            assert service.checkpoint().position == position
            service.reset_key()
        """,
    "markers": """
        import pytest

        pytestmark = pytest.mark.keyturn(expiry=60, max_lifetime=90)

        def lives(service, seconds):
            token = service.create_token()
            service.clock.advance(seconds)
            return service.verify_token(token)

        def test_a_marker_is_for_each_fixture(keyturn_service, replay, keyturn_async_service):
            for service in keyturn_service, replay.service, keyturn_async_service.plain:
                assert lives(service, 59)
                assert not lives(service, 61)

        @pytest.mark.keyturn(expiry=3600)
        def test_that_of_a_test_goes_before_that_of_its_module(keyturn_service):
            assert lives(keyturn_service, 61)
            assert not lives(keyturn_service, 91)
        """,
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[str]]:
    """What became of the tests of each tool, in one run of pytest."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "pytest.ini").write_text(INI)
    for tool, tests in TOOLS.items():
        (folder / f"test_{tool}.py").write_text(dedent(tests))
    report = folder / "report.xml"
    run = [sys.executable, "-m", "pytest", "--junitxml", report]
    result = subprocess.run(
        run, cwd=folder, capture_output=True, text=True, check=False, timeout=110
    )
    assert report.exists(), result.stdout + result.stderr
    found: dict[str, list[str]] = {tool: [] for tool in TOOLS}
    for case in ElementTree.parse(report).iter("testcase"):
        tool = case.get("classname", "").split(".")[0].removeprefix("test_")
        problem = next((bad.text or "" for bad in case if bad.tag in {"failure", "error"}), "")
        found[tool].append(problem)
    return found


@pytest.mark.parametrize("tool", TOOLS)
def test_the_kit_works_beside_the_tool(outcomes: Mapping[str, list[str]], tool: str) -> None:
    number = TOOLS[tool].count("def test_")

    assert len(outcomes[tool]) >= number
    assert [problem for problem in outcomes[tool] if problem] == []


class ReplayInUnittest(unittest.TestCase):
    """Not collected: run by the test below, without pytest."""

    __test__ = False

    def setUp(self) -> None:
        self.replay = self.enterContext(Replay(expiry=60))

    def test_a_reset(self) -> None:
        self.replay.when(ResetKey()).then(Reset())

    def test_that_forgets_an_error(self) -> None:
        self.replay.when(lambda s: s.create_token(-1))


def test_a_replay_needs_no_pytest() -> None:
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(ReplayInUnittest)

    result = unittest.TestResult()
    suite.run(result)

    assert (result.testsRun, len(result.errors), result.failures) == (2, 1, [])
    assert "ExpiryError" in result.errors[0][1]
