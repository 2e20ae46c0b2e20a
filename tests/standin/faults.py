"""What goes wrong on purpose: errors, login pages, cut, short and altered bodies."""

import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from standin.site import LOGIN_PAGE

Environ = dict[str, Any]
Start = Callable[..., Any]
Application = Callable[[Environ, Start], Iterable[bytes]]
Note = Callable[[str, str, int], None]
HTML = ("Content-Type", "text/html; charset=utf-8")
REASONS = {401: "Unauthorized", 403: "Forbidden", 500: "Internal Server Error"}
READ_BEFORE_DROP = 1024
PATIENT = "PLANTED^NAME"
"""On every error page, as real ones quote labels: no client may repeat it."""


def _nothing() -> None:
    return


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong with the next ``times`` requests that match.

    ``path`` is a regular expression searched in the decoded path. ``cut_after_bytes``
    closes the connection in the body; ``truncate`` sends that many bytes as if they
    were all; ``corrupt`` alters one byte; ``drop_upload`` cuts while the request's
    body is read, before anything is stored. ``beside`` is done first, each time.
    """

    path: str = ""
    method: str | None = None
    times: int = 1
    status: int | None = None
    html_login: bool = False
    cut_after_bytes: int | None = None
    truncate: int | None = None
    corrupt: bool = False
    drop_upload: bool = False
    delay_s: float = 0.0
    beside: Callable[[], None] = _nothing

    def fits(self, method: str, path: str) -> bool:
        same = self.method is None or self.method.upper() == method
        return self.times > 0 and same and re.search(self.path, path) is not None


class Faulty:
    """An application whose answers suffer the faults that are queued."""

    def __init__(self, inner: Application, note: Note) -> None:
        self.inner = inner
        self.note = note
        self.faults: list[Fault] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        fault = self._take(environ)
        if fault is None:
            return _sent(self.inner(environ, start))
        fault.beside()
        if fault.delay_s and self.closing.wait(fault.delay_s):
            raise ConnectionAbortedError
        method, path = environ["REQUEST_METHOD"], unquote(environ["PATH_INFO"])
        if fault.drop_upload:
            self.note(method, path, 0)
            environ["wsgi.input"].read(READ_BEFORE_DROP)
            _cut(environ)
        if fault.status is not None:
            self.note(method, path, fault.status)
            return _refuse(start, fault.status)
        if fault.html_login:
            self.note(method, path, 200)
            start("200 OK", [HTML])
            return [LOGIN_PAGE.encode(), PATIENT.encode()]
        return self._altered(fault, environ, start)

    def _take(self, environ: Environ) -> Fault | None:
        path = unquote(environ["PATH_INFO"])
        with self._lock:
            for fault in self.faults:
                if fault.fits(environ["REQUEST_METHOD"], path):
                    fault.times -= 1
                    return fault
        return None

    def _altered(self, fault: Fault, environ: Environ, start: Start) -> Iterable[bytes]:
        if fault.cut_after_bytes is not None:
            body = self.inner(environ, start)
            return _cut_off(body, fault.cut_after_bytes, environ)
        if fault.truncate is None and not fault.corrupt:
            return _sent(self.inner(environ, start))
        held: list[Any] = []
        answer = self.inner(environ, lambda *given: held.extend(given))
        with _closed(answer):
            whole = b"".join(answer)
        short = whole if fault.truncate is None else whole[: fault.truncate]
        sent = _one_byte_altered(short) if fault.corrupt else short
        headers = [pair for pair in held[1] if pair[0].lower() != "content-length"]
        start(held[0], [*headers, ("Content-Length", str(len(sent)))])
        return [sent]


def _refuse(start: Start, status: int) -> list[bytes]:
    reason = REASONS.get(status, "Error")
    # Where a redirect leads, there is a page: what follows it has not got its answer.
    moved = [("Location", "/")] if 300 <= status < 400 else []
    start(f"{status} {reason}", [HTML, *moved])
    return [f"<html><body><h3>{reason}</h3>{PATIENT}</body></html>".encode()]


def _one_byte_altered(body: bytes) -> bytes:
    middle = len(body) // 2
    return (
        body[:middle]
        + bytes(b ^ 255 for b in body[middle : middle + 1])
        + body[middle + 1 :]
    )


def _cut_off(body: Iterable[bytes], size: int, environ: Environ) -> Iterator[bytes]:
    sent = 0
    with _closed(body):
        for chunk in body:
            yield chunk[: size - sent]
            sent += len(chunk)
            if sent >= size:
                break
    _cut(environ)


def _sent(body: Iterable[bytes]) -> Iterator[bytes]:
    """Send a body and close it, which werkzeug forgets when the client resets."""
    with _closed(body):
        yield from body


@contextmanager
def _closed(body: Iterable[bytes]) -> Iterator[None]:
    """Close an answer's body afterwards, as a server has to."""
    try:
        yield
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


def _cut(environ: Environ) -> None:
    """Close the connection; the server takes the error for the client's leaving."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError
