"""What every step of a round is done with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from plugin.pipeline import Segmenter
from plugin.rank import RankOptions
from plugin.train import TrainOptions

if TYPE_CHECKING:
    from plugin.looking import Looker


@dataclass(frozen=True, slots=True)
class Place:
    """Folders of a round: results for people, and what may be lost."""

    output: Path
    work: Path


def nobody(_weights: Path | None) -> None:
    """Ask nobody, as strategies by geometry and chance do."""


@dataclass(frozen=True, slots=True, eq=False)
class LoopOptions:
    """How rounds are opened and closed."""

    train: TrainOptions
    segmenter: Callable[[Path], Segmenter]
    """How a checkpoint is run."""
    looker: "Callable[[Path | None], Looker | None]" = nobody
    """Whom the strategy asks, of a checkpoint or of none."""
    rank: RankOptions = field(default_factory=RankOptions)
    start: str | None = None
    """Weights that draw what the first round ranks, as of ``--checkpoint``."""
    ask: int | None = None
    """Sessions a round; by default what the paper's smallest share takes."""
    test_share: float = 0.2
    least_gain: float = 0.005
    without: frozenset[str] = frozenset()
    timings_min: Mapping[str, float] = field(default_factory=dict)
    minutes_per_slice: float = 0.5
    data: str = "unknown"
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
