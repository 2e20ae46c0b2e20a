"""REST calls to one XNAT server: retried, timed out, and with one login at a time."""

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from plugin.xnat.answers import (
    NOT_FOUND,
    PASSING,
    UNAUTHORISED,
    PassingError,
    check,
    chunks,
    login_refused,
    passing,
    strange,
)

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Login = Callable[[], requests.Session]
Body = bytes | Path | None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call waits, and how often it is tried."""

    attempts: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    connect_s: float = 12.0
    read_s: float = 300.0


class XnatClient:
    """Calls below one host, with one login that is renewed once when it ends."""

    def __init__(self, host: str, login: Login, patience: Patience) -> None:
        self.host = host
        self.patience = patience
        self._login = login
        self._renewing = threading.Lock()
        self._http = self.retried(login)

    def rows(self, path: str, subject: str, **query: str) -> list[dict[str, str]]:
        """Return the rows of a ResultSet; another document is an error.

        XNAT answers an unknown path below an experiment with the experiment itself.
        """
        document = self.json(path, subject, **query)
        try:
            found = document["ResultSet"]["Result"]
        except (KeyError, TypeError):
            raise strange(subject, "a document that is no listing") from None
        return [{str(k): str(v) for k, v in row.items()} for row in found]

    def json(self, path: str, subject: str, **query: str) -> Any:
        """Return a JSON answer; one that is cut short is asked for again."""

        def whole() -> Any:
            body = self._read(path, subject, {"format": "json"} | query)
            try:
                return json.loads(body or b"null")
            except ValueError:
                raise passing(subject, "an answer that is no JSON") from None

        return self.retried(whole)

    def read(self, path: str, subject: str, **query: str) -> bytes | None:
        """Return the body of an answer, None when there is no such object."""
        return self.retried(lambda: self._read(path, subject, query))

    def begin(self, path: str, subject: str, limit_bytes: int) -> bytes:
        """Return at most the first bytes of an answer, and leave the rest unread."""

        def first() -> bytes:
            with self.stream(path, subject) as chunks:
                buffer = io.BytesIO()
                for chunk in chunks:
                    buffer.write(chunk)
                    if buffer.tell() >= limit_bytes:
                        break
                return buffer.getvalue()[:limit_bytes]

        return self.retried(first)

    @contextmanager
    def stream(
        self, path: str, subject: str, **query: str
    ) -> Iterator[Iterator[bytes]]:
        """Yield the body in chunks; what cuts it off is a ``PassingError``."""
        answer = self._send("GET", path, subject, query, stream=True)
        with answer:
            check(answer, subject)
            yield chunks(answer, subject)

    def put(self, path: str, subject: str, body: Body = None, **query: str) -> str:
        """Send a body (none, bytes, or a file that is streamed); return the answer."""
        return self.retried(lambda: self._put(path, subject, body, query))

    def put_json(self, path: str, subject: str, document: Any) -> str:
        """Send JSON to a preference; return the answer's text."""

        def send() -> str:
            answer = self._send("PUT", path, subject, {}, json=document)
            check(answer, subject, html_is_wrong=False)
            return str(answer.text)

        return self.retried(send)

    def delete(self, path: str, subject: str) -> None:
        """Delete once; what is gone already is well."""
        answer = self._send("DELETE", path, subject, {})
        if answer.status_code != NOT_FOUND:
            check(answer, subject, html_is_wrong=False)

    def post(self, path: str, subject: str, document: Any, **query: str) -> str:
        """Send JSON once (a POST is not repeated); return the answer's text."""
        answer = self._send("POST", path, subject, query, json=document)
        check(answer, subject, html_is_wrong=False)
        return str(answer.text)

    def header(self, path: str, subject: str, name: str) -> str:
        """Return one header of a GET's answer, empty when it has none."""

        def ask() -> str:
            answer = self._send("GET", path, subject, {})
            check(answer, subject, html_is_wrong=False)
            return str(answer.headers.get(name, ""))

        return self.retried(ask)

    def status(self, path: str, subject: str) -> int:
        """Return the status of a GET, whatever it is."""

        def ask() -> int:
            answer = self._send("GET", path, subject, {})
            if answer.status_code in PASSING:
                raise passing(subject, f"status {answer.status_code}")
            return int(answer.status_code)

        return self.retried(ask)

    def retried(self, call: Callable[[], Answer]) -> Answer:
        """Return what ``call`` returns, tried again with back-off while it may pass."""
        patience = self.patience
        retrying = Retrying(
            stop=stop_after_attempt(patience.attempts),
            wait=wait_random_exponential(
                multiplier=patience.first_wait_s, max=patience.longest_wait_s
            ),
            retry=retry_if_exception_type(PassingError),
            before_sleep=_tell,
            reraise=True,
        )
        return retrying(call)

    def _read(self, path: str, subject: str, query: dict[str, str]) -> bytes | None:
        answer = self._send("GET", path, subject, query)
        if answer.status_code == NOT_FOUND:
            return None
        check(answer, subject)
        return bytes(answer.content)

    def _put(self, path: str, subject: str, body: Body, query: dict[str, str]) -> str:
        headers = {"Content-Type": "application/octet-stream"}
        if isinstance(body, Path):
            with body.open("rb") as file:
                answer = self._send(
                    "PUT", path, subject, query, data=file, headers=headers
                )
        else:
            answer = self._send("PUT", path, subject, query, data=body, headers=headers)
        check(answer, subject, html_is_wrong=False)
        return str(answer.text)

    def _send(
        self, method: str, path: str, subject: str, query: dict[str, str], **more: Any
    ) -> requests.Response:
        """Send one request; a login that ended is renewed and the request repeated."""

        def ask(http: requests.Session) -> requests.Response:
            try:
                return http.request(
                    method,
                    self.host + path,
                    params=query,
                    timeout=(self.patience.connect_s, self.patience.read_s),
                    allow_redirects=False,
                    **more,
                )
            except requests.RequestException as error:
                raise passing(subject, type(error).__name__) from None

        http = self._http
        answer = ask(http)
        if answer.status_code == UNAUTHORISED:
            answer.close()
            _rewind(more.get("data"))
            answer = ask(self._renewed(http))
        if answer.status_code == UNAUTHORISED:
            raise login_refused(self.host)
        return answer

    def _renewed(self, ended: requests.Session) -> requests.Session:
        """Return a new login, made once however many workers saw that one end."""
        with self._renewing:
            if self._http is ended:
                self._http = self._login()
            return self._http


def path_of(*segments: str) -> str:
    """Return an absolute path of quoted segments."""
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


def _rewind(body: Any) -> None:
    if isinstance(body, io.IOBase):
        body.seek(0)


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    logger.warning("attempt %d: %s", state.attempt_number, error)
