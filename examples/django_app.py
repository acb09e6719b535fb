"""A Django project in one file: login, logout, a protected view, one that takes a recent login.

    pip install keyturn django gunicorn
    gunicorn --pythonpath examples --preload --workers 2 django_app:application

Its only user is alice, her password is wonderland. The app is loaded before the server forks,
and each worker opens a service of its own. Over plain HTTP browsers need
`WebOptions(plain_http=True)`.
"""

from __future__ import annotations

import json
import secrets

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from keyturn.web import per_process
from keyturn.web.django import session_of, session_required

settings.configure(
    ALLOWED_HOSTS=["*"],
    KEYTURN_SERVICE=per_process(path="data", password=None),
    MIDDLEWARE=["keyturn.web.django.KeyturnMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_urlsafe(),
)


@require_POST
def login(request: HttpRequest) -> HttpResponse:
    """Log in; the host's own way to know its users goes here."""
    given = json.loads(request.body)
    if (given["user"], given["password"]) != ("alice", "wonderland"):
        return HttpResponse("wrong user or password", status=401)
    session_of(request).log_in(given["user"])
    return HttpResponse(status=204)


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """End the session."""
    session_of(request).log_out()
    return HttpResponse(status=204)


@require_GET
@session_required
def me(request: HttpRequest) -> HttpResponse:
    """Say whose session it is."""
    return JsonResponse({"user": request.keyturn.subject})


@require_POST
@session_required(max_age=300)
def change_password(request: HttpRequest) -> HttpResponse:
    """Do what takes a login within the last five minutes."""
    return JsonResponse({"changed": request.keyturn.subject})


urlpatterns = [
    path("login", login),
    path("logout", logout),
    path("me", me),
    path("password", change_password),
]
application = get_wsgi_application()
