"""Whom a strategy asks about the pool, as the options of a command say."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.selection import NETWORK_STRATEGIES
from plugin.archive import Archive
from plugin.engines import Wish
from plugin.errors import ConfigError
from plugin.proofs import Proofs

if TYPE_CHECKING:
    from plugin.looking import Looker


def asked(
    weights: Path | None, archive: Archive, settings: dict[str, Any]
) -> "Looker | None":
    """Return the ensemble that the strategy asks, None for one that asks nobody.

    PyTorch is loaded only where a network is asked.

    Raises
    ------
    ConfigError
        If the strategy asks a network and there is none.
    """
    strategy = settings["strategy"]
    if strategy not in NETWORK_STRATEGIES:
        return None
    if weights is None:
        raise ConfigError(
            f"--strategy {strategy}",
            found="no checkpoint",
            needed="a network that looks at the pool",
            mend="give another --checkpoint, or choose the strategy bag",
        )
    from plugin.looking import open_looker

    wish, proofs = Wish(device=settings["device"]), Proofs(settings["cache"], archive)
    return open_looker(weights, archive, settings["work"], wish, proofs)
