"""Which checks an archive gets: its own, and those of this machine.

A new kind of archive brings a function that returns its checks, and one line here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from plugin.check import Check
from plugin.errors import ConfigError
from plugin.machine_checks import folder_checks, machine_checks
from plugin.xnat.target import is_xnat, parse_target


@dataclass(frozen=True, slots=True)
class Examination:
    """Checks to be asked in turn, and what ends the connection they opened."""

    checks: tuple[Check, ...]
    close: Callable[[], None]


def examination(uri: str, work: Path, environ: Mapping[str, str]) -> Examination:
    """Return the checks for what ``uri`` names.

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
    if "://" in uri:
        raise ConfigError(
            f"archive '{uri.split('://')[0]}'",
            found="a scheme that has no checks",
            needed="xnat:PROJECT, xnat+https://host/PROJECT, or a folder's path",
            mend="correct --archive",
        )
    return Examination((*folder_checks(Path(uri)), *machine), lambda: None)
