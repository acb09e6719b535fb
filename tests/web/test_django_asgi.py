"""Django under ASGI: the middleware is around the application, and a view may refuse."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asgiref.sync import async_to_sync
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from django.urls import path
from starlette.testclient import TestClient

from keyturn.testing import ClockedService
from keyturn.web.asgi import KeyturnMiddleware, session_of
from tests.web.django_settings import configure_django

configure_django()


async def awaiting(request: HttpRequest) -> HttpResponse:
    return HttpResponse((await session_of(request.scope).require()).subject)


def threaded(request: HttpRequest) -> HttpResponse:
    return HttpResponse(async_to_sync(session_of(request.scope).require)().subject)


urlpatterns = [path("awaiting", awaiting), path("threaded", threaded)]


@pytest.fixture
def client(keyturn_service: ClockedService) -> Iterator[TestClient]:
    middleware = ["keyturn.web.django.RefusalMiddleware"]
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=middleware):
        yield TestClient(KeyturnMiddleware(get_asgi_application(), keyturn_service))


@pytest.mark.parametrize("view", ["/awaiting", "/threaded"])
def test_a_view_that_needs_a_session_answers_others_with_401(
    client: TestClient, keyturn_service: ClockedService, view: str
) -> None:
    token = keyturn_service.create_token(subject="alice")

    answered = client.get(view, headers={"Authorization": f"Bearer {token}"})
    refused = client.get(view)

    assert answered.text == "alice"
    assert (refused.status_code, refused.json()["error"]) == (401, "unauthorized")
