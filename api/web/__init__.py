"""Keyturn on the web: thin glue that a host would otherwise write by hand.

Each framework has a module of its own, and none is imported unless its module is: `asgi`,
`fastapi`, `wsgi`, `flask`, `django`. What they share needs no framework: where the token of a
request is (`credentials`), how a request is refused (`answers`), cookies, and whether another
site forged the request (`csrf`).
"""

from keyturn.web.answers import ErrorAnswer, RequestRefusedError
from keyturn.web.incoming import Incoming
from keyturn.web.options import WebOptions
from keyturn.web.processes import PerProcess, per_process

__all__ = [
    "ErrorAnswer",
    "Incoming",
    "PerProcess",
    "RequestRefusedError",
    "WebOptions",
    "per_process",
]
