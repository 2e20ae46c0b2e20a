"""Nothing that a launch printed, left behind or stored names a patient or a secret."""

from collections.abc import Iterable

from launcher import Launch
from standin.server import StandIn
from synthetic import SECRETS

IMAGES = (b"DICM", 128)
"""What a DICOM file says of itself, and where: it does name its patient."""


def check_told(
    server: StandIn, launches: Iterable[Launch], stored: Iterable[tuple[str, bytes]]
) -> None:
    """Fail where a word that nobody may tell stands; ``stored`` is names and bytes."""
    accounts = server.state.accounts
    logins = {*accounts.passwords.values(), *_tokens(server)} - {"admin"}
    told = [part for launch in launches for part in launch.told()]
    for name, data in (*told, *stored):
        words = logins if _is_image(data) else logins | set(SECRETS)
        assert not [w for w in words if w.encode() in data], name


def _tokens(server: StandIn) -> set[str]:
    tokens = server.state.accounts.tokens.values()
    return {word for token in tokens for word in (token.alias, token.secret)}


def _is_image(data: bytes) -> bool:
    mark, place = IMAGES
    return data[place : place + len(mark)] == mark
