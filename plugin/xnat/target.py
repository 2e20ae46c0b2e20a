"""Which XNAT project an archive URI names, and whose credentials open it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from plugin.errors import ConfigError

URI = re.compile(r"xnat(?:\+(?P<host>https?://[^?#]+))?[:/](?P<project>[^/:?#]+)/?")
NEEDED = "xnat:PROJECT, or xnat+https://host/PROJECT"


@dataclass(frozen=True, slots=True)
class XnatTarget:
    """One project on one server, and the login; never shown in full."""

    host: str
    project: str
    user: str = field(repr=False)
    secret: str = field(repr=False)


def is_xnat(uri: str) -> bool:
    """Tell whether an archive URI means an XNAT project."""
    return uri.startswith(("xnat:", "xnat+"))


def parse_target(uri: str, environ: Mapping[str, str]) -> XnatTarget:
    """Return what ``uri`` names; host and login come from ``XNAT_*`` variables.

    Raises
    ------
    ConfigError
        If the URI has another form or holds a login, or a variable is missing.
    """
    host, project = _parts(uri)
    return XnatTarget(
        host=host.rstrip("/") or _needed(environ, "XNAT_HOST").rstrip("/"),
        project=project,
        user=_needed(environ, "XNAT_USER"),
        secret=_needed(environ, "XNAT_PASS"),
    )


def _parts(uri: str) -> tuple[str, str]:
    if "@" in uri:
        raise ConfigError(
            "--archive",
            found="a login inside the URI",
            needed=NEEDED,
            mend="give the login in XNAT_USER and XNAT_PASS only",
        )
    match = URI.fullmatch(uri)
    if match is None:
        raise ConfigError(
            "--archive", found=f"'{uri}'", needed=NEEDED, mend="correct the URI"
        )
    return match["host"] or "", match["project"]


def _needed(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise ConfigError(
            name,
            found="no value",
            needed="the server, an alias token and its secret, or user and password",
            mend=f"set {name}; XNAT sets it for a container that it launches",
        )
    return value
