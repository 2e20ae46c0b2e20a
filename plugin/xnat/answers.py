"""What a server's answer means: well, to be asked for again, or refused.

The body of an answer may hold labels that identify a patient, so no message repeats
one. A login page that comes with status 200 is told from data.
"""

from collections.abc import Iterator
from typing import NoReturn

import requests

from plugin.errors import ArchiveError, LoginError

CHUNK_BYTES = 1 << 20
PASSING = frozenset({429, 500, 502, 503, 504})
UNAUTHORISED, FORBIDDEN, NOT_FOUND = 401, 403, 404
REDIRECTS = range(300, 400)


class ForbiddenError(ArchiveError):
    """The user lacks a right; trying again does not help."""


class StatusError(ArchiveError):
    """The server answered with another status than those that were expected."""

    def __init__(self, subject: str, status: int) -> None:
        moved = status in REDIRECTS
        super().__init__(
            subject,
            found=f"status {status}" + (", a redirect" if moved else ""),
            needed="success",
            mend="give the address that the server redirects to (https?) as host"
            if moved
            else "see the server's log, then run again",
        )
        self.status = status


class PassingError(ArchiveError):
    """What may pass: no connection, a time-out, a busy server, a cut answer."""


def check(
    answer: requests.Response, subject: str, *, html_is_wrong: bool = True
) -> None:
    """Raise what an answer other than success means.

    Raises
    ------
    PassingError
        If asking again may help: the server is busy, or sent a page instead of data.
    ForbiddenError
        If the user lacks a right. StatusError for every other refusal.
    """
    status = answer.status_code
    if status in PASSING:
        raise passing(subject, f"status {status}")
    if status == FORBIDDEN:
        raise ForbiddenError(
            subject,
            found="the user may not do this (403)",
            needed="the role member for a session, owner for the project itself",
            mend="ask the project's owner for the role, then launch again",
        )
    if status >= REDIRECTS.start:
        raise StatusError(subject, status)
    if html_is_wrong and "html" in answer.headers.get("Content-Type", "").lower():
        raise passing(subject, "a web page instead of data (a login page?)")


def chunks(answer: requests.Response, subject: str) -> Iterator[bytes]:
    """Yield an answer's body; what cuts it off is a ``PassingError``."""
    try:
        yield from answer.iter_content(CHUNK_BYTES)
    except requests.RequestException as error:
        raise passing(subject, f"an answer cut off ({type(error).__name__})") from None


def passing(subject: str, found: str) -> PassingError:
    """Return the error of what may pass."""
    return PassingError(
        subject,
        found=found,
        needed="a complete answer",
        mend="run again: what is complete is not fetched or sent twice",
    )


def strange(subject: str, found: str) -> NoReturn:
    """Raise the error of an answer that no XNAT gives."""
    raise ArchiveError(
        subject,
        found=found,
        needed="what XNAT 1.8 or newer answers",
        mend="run `brs doctor`; check XNAT_HOST and proxies in between",
    )


def login_refused(host: str) -> LoginError:
    """Return the error of a login that the server does not take (any more)."""
    return LoginError(
        f"XNAT at {host}",
        found="the login was refused, or the token expired (401)",
        needed="a valid alias token, or user and password, in XNAT_USER and XNAT_PASS",
        mend="launch again; for long trainings have aliasTokenTimeout raised",
    )
