"""Which PACS an archive URI names, and how it is called and answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from plugin.errors import ConfigError
from plugin.receiving.settings import check_ae_title
from plugin.sending.destination import HIGHEST_PORT, ClientTls, Destination

SCHEME = "dicom://"
NEEDED = "dicom://AET@host:port, then ?from=YYYYMMDD&to=YYYYMMDD&description=*word*"
OUR_TITLE = "BRS"
TLS_FILES = ("BRS_DICOM_TLS_CERT", "BRS_DICOM_TLS_KEY", "BRS_DICOM_TLS_CA")
TLS_HOST = "BRS_DICOM_TLS_HOST"
EVERYWHERE = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of the PACS's MR studies are the archive's sessions."""

    first: date | None = None
    last: date | None = None
    description: str = ""
    """Pattern of the study description, as ``*mamma*``; empty: breast words."""


@dataclass(frozen=True, slots=True)
class Doorstep:
    """Where the PACS can reach us while it moves images to us (C-MOVE)."""

    port: int
    address: str = EVERYWHERE


@dataclass(frozen=True, slots=True)
class PacsTarget:
    """One PACS, our own name there, and the folder of what a PACS cannot keep."""

    peer: Destination
    calling_ae: str
    state: Path
    selection: Selection = Selection()
    doorstep: Doorstep | None = None


def is_pacs(uri: str) -> bool:
    """Tell whether an archive URI means a PACS."""
    return uri.startswith(SCHEME)


def parse_target(
    uri: str, environ: Mapping[str, str], state: Path | None = None
) -> PacsTarget:
    """Return what ``uri`` names; the rest comes from ``BRS_*`` variables.

    Raises
    ------
    ConfigError
        If the URI has another form, a variable is wrong, or no state folder is given.
    """
    parts = urlsplit(uri)
    calling_ae = environ.get("BRS_AE_TITLE") or OUR_TITLE
    check_ae_title(calling_ae)
    return PacsTarget(
        peer=_peer(parts, uri, _tls(environ)),
        calling_ae=calling_ae,
        state=_state(environ, state),
        selection=_selection(parts.query),
        doorstep=_doorstep(environ),
    )


def _peer(parts: SplitResult, uri: str, tls: ClientTls | None) -> Destination:
    try:
        port = parts.port
    except ValueError:
        port = None
    known = parts.username and parts.hostname and port and not parts.password
    if not known or parts.path not in ("", "/") or parts.fragment:
        raise _refused(f"'{uri}'")
    return Destination(
        name="pacs",
        ae_title=unquote(parts.username or ""),
        host=parts.hostname or "",
        port=port or 0,
        tls=tls,
    )


def _selection(query: str) -> Selection:
    given = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(given.keys() - {"from", "to", "description"})
    if unknown:
        raise _refused(f"an unknown '{unknown[0]}'")
    return Selection(
        first=_day(given.get("from", "")),
        last=_day(given.get("to", "")),
        description=given.get("description", ""),
    )


def _day(text: str) -> date | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        raise _refused(f"the date '{text}'") from None


def _tls(environ: Mapping[str, str]) -> ClientTls | None:
    given = [environ.get(name, "") for name in TLS_FILES]
    if not any(given):
        return None
    if not all(given):
        missing = TLS_FILES[given.index("")]
        raise _setting(missing, "no value", "all three TLS files, or none")
    host = environ.get(TLS_HOST) or "check"
    if host not in ("check", "any"):
        raise _setting(TLS_HOST, f"'{host}'", "check, or any")
    certificate, private, authority = map(Path, given)
    return ClientTls(certificate, private, authority, check_host=host == "check")


def _doorstep(environ: Mapping[str, str]) -> Doorstep | None:
    text = environ.get("BRS_DICOM_PORT", "")
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) <= HIGHEST_PORT:
        raise _setting("BRS_DICOM_PORT", f"'{text}'", f"1 to {HIGHEST_PORT}")
    return Doorstep(int(text), environ.get("BRS_DICOM_ADDRESS") or EVERYWHERE)


def _state(environ: Mapping[str, str], state: Path | None) -> Path:
    given = state or environ.get("BRS_STATE", "")
    if not given:
        raise ConfigError(
            "--state",
            found="no folder",
            needed="one: a PACS keeps images and masks, but no rankings, checkpoints, "
            "results or records of reviews",
            mend="give --state FOLDER or BRS_STATE, always the same for one study, "
            "and back it up",
        )
    return Path(given)


def _refused(found: str) -> ConfigError:
    return ConfigError("--archive", found=found, needed=NEEDED, mend="correct the URI")


def _setting(name: str, found: str, needed: str) -> ConfigError:
    return ConfigError(name, found=found, needed=needed, mend=f"correct {name}")
