"""What a comparison with chance says, in a word and in one plain sentence."""

from dataclasses import dataclass

from model.statistics import LEAST_PAIRS, Interval

SIGNIFICANCE = 0.05
SMALLEST_P = 0.001
"""Smaller ones are told as smaller than this."""
LEAST_SEEDS = 3
"""Trainings with fewer seeds may owe a difference to luck alone."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A strategy against a baseline, at one proportion on one test set."""

    test: str
    proportion: float
    strategy: str
    baseline: str
    pairs: int
    """Patients that both were tested on."""
    dice: Interval | None
    """Difference of the mean Dice over slices, ours minus the baseline's."""
    p: float | None
    p_holm: float | None
    rank_biserial: float | None
    seeds_better: int
    """Seeds with the higher mean Dice, of ``seeds``."""
    seeds: int
    same_cases: bool
    """Both selected the same cases with every seed."""
    hd95_mm: Interval | None
    hd95_p_holm: float | None
    energy_kwh: float | None
    """Difference of the mean energy of a training; None where unknown."""
    annotation_minutes: float
    """Difference of the estimated minutes to draw the selection."""
    minutes_saved: float | None
    """Estimated minutes less for the baseline's Dice; None if it is never reached."""

    @property
    def verdict(self) -> str:
        """Say better, worse, not distinguishable, same (cases) or unknown.

        The test is of ranks: it counts where the mean moves the same way.
        """
        if self.same_cases:
            return "same"
        if self.p_holm is None or self.dice is None:
            return "unknown"
        if self.p_holm >= SIGNIFICANCE or not self._agrees():
            return "not distinguishable"
        return "better" if self.dice.mean > 0 else "worse"

    def sentence(self) -> str:
        """Return the verdict as one plain sentence."""
        where = f"{self.strategy} at {self.proportion:.0%}"
        baseline = self.baseline
        if self.verdict == "same":
            return f"{where}: the same cases as {baseline}."
        if self.verdict == "unknown":
            few = f"{self.pairs} shared patients, {LEAST_PAIRS} needed"
            return f"{where}: too few to tell from {baseline} ({few})."
        words = {
            "better": f"better than {baseline}",
            "worse": f"worse than {baseline}",
            "not distinguishable": f"not distinguishable from {baseline}",
        }[self.verdict]
        return f"{where}: {words} ({self._effect()})."

    def _agrees(self) -> bool:
        """Say whether most patients moved where the mean moved."""
        if self.dice is None or self.rank_biserial is None:
            return False
        return self.dice.mean * self.rank_biserial > 0

    def _effect(self) -> str:
        parts = [
            f"Dice {signed(self.dice)}",
            f"p {_sign(p_text(self.p_holm))} after Holm",
            f"{self.pairs} patients",
        ]
        if self.hd95_p_holm is not None and self.hd95_p_holm < SIGNIFICANCE:
            p = _sign(p_text(self.hd95_p_holm))
            parts.append(f"HD95 {signed(self.hd95_mm, digits=1)} mm, p {p}")
        if self.seeds > 1:
            parts.append(f"higher with {self.seeds_better} of {self.seeds} seeds")
        if luck := luck_of(self.seeds):
            parts.append(luck)
        return ", ".join(parts)


def luck_of(seeds: int) -> str:
    """Say that few seeds do not exclude the luck of the training, empty with enough."""
    if seeds >= LEAST_SEEDS:
        return ""
    count = f"{seeds} seed{'s' * (seeds != 1)}"
    return f"{count}: the luck of the training is not excluded"


def signed(difference: Interval | None, digits: int = 4) -> str:
    """Return a difference with its interval: ``+0.012 (-0.003 to +0.027)``."""
    if difference is None:
        return "unknown"
    mean = f"{difference.mean:+.{digits}f}"
    if difference.low is None or difference.high is None:
        return mean
    return f"{mean} ({difference.low:+.{digits}f} to {difference.high:+.{digits}f})"


def p_text(p: float | None) -> str:
    """Return a probability to three places: ``0.012``, ``< 0.001``, ``unknown``."""
    if p is None:
        return "unknown"
    return f"{p:.3f}" if p >= SMALLEST_P else f"< {SMALLEST_P}"


def _sign(told: str) -> str:
    return told if told.startswith("<") else f"= {told}"
