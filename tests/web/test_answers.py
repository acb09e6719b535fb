"""What a client is told when its request is refused: RFC 6750, RFC 9470."""

from __future__ import annotations

import pytest

from keyturn import Refusal
from keyturn.web import answers


def test_who_sent_no_token_is_told_the_scheme_and_no_error_code() -> None:
    answer = answers.no_token()

    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="keyturn"')


@pytest.mark.parametrize("reason", list(Refusal))
def test_every_reason_is_said_in_the_challenge(reason: Refusal) -> None:
    answer = answers.bad_token(reason)

    challenge = answer.headers["WWW-Authenticate"]
    assert answer.status == 401
    assert challenge.startswith('Bearer error="invalid_token", error_description="')
    assert reason.value in challenge


def test_a_session_that_is_too_old_for_a_route_is_told_how_old_it_may_be() -> None:
    challenge = answers.bad_token(Refusal.TOO_LONG_AGO, 300).headers["WWW-Authenticate"]

    assert 'error="insufficient_user_authentication"' in challenge
    assert challenge.endswith(', max_age="300"')


def test_a_log_that_cannot_be_read_is_no_fault_of_the_token() -> None:
    answer = answers.unavailable()

    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


def test_no_answer_may_be_stored() -> None:
    for answer in (answers.no_token(), answers.forged("x"), answers.unavailable()):
        headers = dict(answer.all_headers)

        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Length"] == str(len(answer.body))
