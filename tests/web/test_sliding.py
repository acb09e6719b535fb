"""When a token is refreshed."""

from __future__ import annotations

import pytest

from keyturn import Authenticated
from keyturn.web.session import is_due


@pytest.mark.parametrize(
    ("age", "share", "due"),
    [(0, 0.5, False), (50, 0.5, False), (51, 0.5, True), (99, 0, False), (1, 1, True)],
)
def test_a_token_is_refreshed_when_less_than_a_share_of_its_life_is_left(
    age: int, share: float, due: bool
) -> None:
    assert is_due(Authenticated({"iat": 1000, "exp": 1100}, 1), 1000 + age, share) is due


def test_a_token_for_ever_is_never_refreshed() -> None:
    assert not is_due(Authenticated({"iat": 1000}, 1), 10**9, 1)
