"""Users, their alias tokens, and the JSESSIONs that are open."""

import threading
import uuid
from dataclasses import dataclass

from standin.refused import Refused

GUEST = "guest"


@dataclass(slots=True)
class Token:
    """An alias token: stands for a user until it expires."""

    alias: str
    secret: str
    user: str
    valid: bool = True


class Accounts:
    """Who may log in, and who is."""

    def __init__(self) -> None:
        self.passwords = {"admin": "admin"}
        self.admins = {"admin"}
        self.container_managers: set[str] = set()
        self.tokens: dict[str, Token] = {}
        self.sessions: dict[str, str] = {}
        self._by_alias: dict[str, str] = {}
        self._lock = threading.Lock()

    def user_of(self, name: str, secret: str) -> str:
        """Return the user behind a login or an alias token; wrong ones are 401."""
        token = self.tokens.get(name)
        if token is not None and token.valid and token.secret == secret:
            return token.user
        if name in self.passwords and self.passwords[name] == secret:
            return name
        raise Refused(401, "The request requires user authentication")

    def open(self, user: str, login: str) -> str:
        """Open a JSESSION and return its id."""
        session = uuid.uuid4().hex.upper()
        with self._lock:
            self.sessions[session] = user
            self._by_alias[session] = login
        return session

    def close(self, session: str) -> None:
        with self._lock:
            self.sessions.pop(session, None)
            self._by_alias.pop(session, None)

    def issue(self, user: str) -> Token:
        token = Token(str(uuid.uuid4()), uuid.uuid4().hex * 2, user)
        self.tokens[token.alias] = token
        return token

    def expire(self, alias: str) -> None:
        """End a token, and the sessions that were opened with it."""
        self.tokens[alias].valid = False
        with self._lock:
            ended = [s for s, login in self._by_alias.items() if login == alias]
        for session in ended:
            self.close(session)
