"""The settings of Django, which are made once in a process: a test overrides what it needs."""

from __future__ import annotations

import django
from django.conf import settings


def configure_django() -> None:
    """Have Django ready."""
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            MIDDLEWARE=["keyturn.web.django.KeyturnMiddleware"],
            ROOT_URLCONF="tests.web.test_wsgi",
            SECRET_KEY="of this test",
        )
        django.setup()
