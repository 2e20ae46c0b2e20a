"""Which checks an archive gets: its own, and those of this machine.

A new kind of archive brings a function that returns its checks, and one line here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from plugin.check import Check
from plugin.errors import ConfigError
from plugin.machine_checks import folder_checks, machine_checks
from plugin.pacs.target import is_pacs
from plugin.pacs.target import parse_target as parse_pacs
from plugin.xnat.target import is_xnat, parse_target


@dataclass(frozen=True, slots=True)
class Examination:
    """Checks to be asked in turn, and what ends the connection they opened."""

    checks: tuple[Check, ...]
    close: Callable[[], None]


def examination(
    uri: str,
    work: Path,
    environ: Mapping[str, str],
    *,
    state: Path | None = None,
    listen_s: float = 0,
) -> Examination:
    """Return the checks for what ``uri`` names.

    Of a PACS: with its ``state`` folder, and ``listen_s`` seconds for its echo.

    Raises
    ------
    ConfigError
        If the URI has a scheme without checks, or a login is missing.
    """
    machine = machine_checks(work)
    if is_xnat(uri):
        from plugin.xnat.checks import Examined, xnat_checks

        examined = Examined(parse_target(uri, environ))
        return Examination((*xnat_checks(examined), *machine), examined.close)
    if is_pacs(uri):
        from plugin.pacs.checks import pacs_checks

        target = parse_pacs(uri, environ, state)
        checks = pacs_checks(target, listen_s=listen_s)
        return Examination((*checks, *machine), lambda: None)
    if "://" in uri:
        raise ConfigError(
            f"archive '{uri.split('://')[0]}'",
            found="a scheme that has no checks",
            needed="xnat:PROJECT, xnat+https://host/PROJECT, dicom://AET@host:port, "
            "or a folder's path",
            mend="correct --archive",
        )
    return Examination((*folder_checks(Path(uri)), *machine), lambda: None)
