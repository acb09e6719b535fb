"""A plain pykka host: its actors and Keyturn's know each other by their refs, and send messages.

Run it with `python examples/pykka_host.py`. Nothing is left on disk. For a log that stays, open
`sqlite:///sessions.db`, and keep the key ring with `KeyRing.create("keyring.json", password)`.
"""

from __future__ import annotations

from typing import Any

import pykka

from keyturn import (
    CreateToken,
    KeyRing,
    ResetKey,
    SessionKeys,
    SessionManager,
    Subscribe,
    VerifyToken,
    ask,
    open_event_log,
)


class Rooms(pykka.ThreadingActor):
    """Lets whoever has a good token into a room, and all out when the key is reset."""

    use_daemon_thread = True

    def __init__(self, sessions: pykka.ActorRef[SessionManager]) -> None:
        super().__init__()
        self.sessions = sessions
        self.inside: list[str] = []

    def enter(self, who: str, token: str) -> bool:
        """Let somebody in, if the manager says that the token is good."""
        is_good = ask(self.sessions, VerifyToken(token))
        if is_good:
            self.inside.append(who)
        return is_good

    def on_receive(self, event: Any) -> None:
        """Hear of a change of the keys (in this actor's thread), by whatever process."""
        if isinstance(event, SessionKeys.KeyReset):
            print(f"{event.initiator} reset the key ({event.reason}): out go {self.inside}")
            self.inside.clear()


def main() -> None:
    """Wire the parts, let alice in, reset the key."""
    log, key_ring = open_event_log("memory:"), KeyRing.ephemeral()
    sessions = SessionManager.start(log, key_ring, expiry=3600)  # raises what goes wrong
    rooms = Rooms.start(sessions)
    try:
        ask(sessions, Subscribe(rooms))
        token = ask(sessions, CreateToken(subject="alice"))
        print("alice enters:", rooms.proxy().enter("alice", token).get(timeout=10))
        ask(sessions, ResetKey(reason="laptop stolen", initiator="bob"))
        print("alice enters:", rooms.proxy().enter("alice", token).get(timeout=10))
    finally:
        rooms.stop()
        sessions.stop()
        log.close()


if __name__ == "__main__":
    main()
