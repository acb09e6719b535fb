"""A Flask app: login, logout, a protected route, and one that takes a recent login.

    pip install keyturn flask gunicorn
    gunicorn --pythonpath examples --preload --workers 2 flask_app:app

Its only user is alice, her password is wonderland. The app is loaded before the server forks,
and each worker opens a service of its own. Over plain HTTP browsers need
`WebOptions(plain_http=True)`.
"""

from __future__ import annotations

from flask import Flask, abort, request
from flask.typing import ResponseReturnValue

from keyturn.web import per_process
from keyturn.web.flask import current_session, init_app, session_required

app = Flask(__name__)
init_app(app, per_process(path="data", password=None))


@app.post("/login")
def login() -> ResponseReturnValue:
    """Log in; the host's own way to know its users goes here."""
    given = request.get_json()
    if (given["user"], given["password"]) != ("alice", "wonderland"):
        abort(401)
    current_session().log_in(given["user"])
    return "", 204


@app.post("/logout")
def logout() -> ResponseReturnValue:
    """End the session."""
    current_session().log_out()
    return "", 204


@app.get("/me")
@session_required
def me() -> ResponseReturnValue:
    """Say whose session it is."""
    return {"user": current_session().require().subject}


@app.post("/password")
@session_required(max_age=300)
def change_password() -> ResponseReturnValue:
    """Do what takes a login within the last five minutes."""
    return {"changed": current_session().require().subject}
