"""A study as values: strategies x proportions x seeds x folds over annotated cases.

Pure: nothing is trained here. A cell is one training, named by a hash of all that
decides its weights, so two strategies that select the same cases share it, and a
finished one is known again anywhere.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from model.dataset import CaseInfo, Fold, kept_apart, patient_folds
from model.errors import SelectionError
from model.progress import TrainConfig
from model.ranking import Candidate, Evidence, Ranking
from model.selection import FOLDS, NETWORK_STRATEGIES, rank, training_count

CELL_VERSION = "brs-cell/1"
"""Raised when the same cell would get other weights."""
PAPER_PROPORTIONS = (0.1, 0.2, 0.3, 0.4)


@dataclass(frozen=True, slots=True)
class Design:
    """What is compared, and how each training is done."""

    strategies: tuple[str, ...]
    proportions: tuple[float, ...] = PAPER_PROPORTIONS
    seeds: tuple[int, ...] = (0,)
    config: TrainConfig = field(default_factory=TrainConfig)
    """Its seed is replaced by each of ``seeds``."""
    only_fold: int | None = None
    """Train this fold of each cross-validation alone; None trains all."""
    test_share: float = 0.2
    """Share of the patients kept out of every selection, to test all on the same."""
    start: str = "bag"
    """Makes the first selection of a strategy that needs a network."""
    weights_sha256: str = ""
    """Of the checkpoint that every training begins with; empty where from nothing."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The cases to select from, and those that everything is tested on."""

    candidates: tuple[Candidate, ...]
    """By case id; patients of ``common`` are not among them."""
    common: tuple[str, ...]
    infos: Mapping[str, CaseInfo]

    def patients(self) -> dict[str, str]:
        """Return the pool's cases and their patients."""
        return {c.case_id: c.patient_key for c in self.candidates}


@dataclass(frozen=True, slots=True)
class Selection:
    """The cases that one strategy annotates at one proportion, in order."""

    strategy: str
    proportion: float
    seed: int
    cases: tuple[str, ...]
    unselected: tuple[str, ...]
    """The pool's cases of other patients: the paper's test set."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One training: a fold of a selection's cross-validation."""

    key: str
    fold: Fold
    config: TrainConfig


def pool_of(
    candidates: Iterable[Candidate], infos: Mapping[str, CaseInfo], design: Design
) -> Pool:
    """Divide the cases into the pool and the common test set, by patient.

    Raises
    ------
    SelectionError
        If fewer patients than folds need would be left to select from.
    """
    cases = sorted(candidates, key=lambda candidate: candidate.case_id)
    keys = sorted({case.patient_key for case in cases})
    test = kept_apart(keys, design.test_share)
    if not 0 <= design.test_share < 1 or len(keys) - len(test) < FOLDS:
        raise SelectionError(
            "annotated cases",
            found=f"{len(keys)} patients, {design.test_share:.0%} of them for the test",
            needed=f"at least {FOLDS} to select from",
            mend="have more sessions annotated, or give a smaller --test-share",
        )
    return Pool(
        candidates=tuple(c for c in cases if c.patient_key not in test),
        common=tuple(c.case_id for c in cases if c.patient_key in test),
        infos=infos,
    )


def order(
    pool: Pool,
    design: Design,
    strategy: str,
    seed: int,
    *,
    before: Selection | None = None,
    seen: Mapping[str, Evidence] | None = None,
) -> Ranking:
    """Return the ranking from which a selection is cut.

    A strategy that needs a network goes on from its selection ``before`` with what the
    networks trained on that made of the pool (``seen``); its first is ``design.start``.
    """
    if strategy not in NETWORK_STRATEGIES:
        return rank(pool.candidates, strategy=strategy, seed=seed)
    if before is None or seen is None:
        return rank(pool.candidates, strategy=design.start, seed=seed)
    looked_at = [replace(c, evidence=seen[c.case_id]) for c in pool.candidates]
    return rank(looked_at, strategy=strategy, seed=seed, first=before.cases)


def select(pool: Pool, ranking: Ranking, strategy: str, proportion: float) -> Selection:
    """Return the first picks of a ranking: as many patients as the proportion asks."""
    patients = pool.patients()
    count = training_count(len(set(patients.values())), proportion)
    cases = tuple(pick.case_id for pick in ranking.picks[:count])
    chosen = {patients[case] for case in cases}
    others = tuple(case for case, key in patients.items() if key not in chosen)
    return Selection(strategy, proportion, ranking.seed, cases, others)


def cells(
    pool: Pool, selection: Selection, design: Design, engine: str
) -> tuple[Cell, ...]:
    """Return the trainings of a selection, one a fold; ``engine`` computes them."""
    config = replace(design.config, seed=selection.seed)
    patients = {case: pool.infos[case].patient_key for case in selection.cases}
    folds = patient_folds(patients, folds=config.folds, seed=config.seed)
    wanted = [f for f in folds if design.only_fold in (None, f.number)]
    start = design.weights_sha256
    return tuple(
        Cell(cell_key(fold, config, pool.infos, engine, start), fold, config)
        for fold in wanted
    )


def cell_key(
    fold: Fold,
    config: TrainConfig,
    infos: Mapping[str, CaseInfo],
    engine: str,
    start: str = "",
) -> str:
    """Return a hash of what decides a training's weights, 24 hexadecimal digits.

    ``start`` names the weights that it begins with, empty for random ones.
    """
    content = {
        "version": CELL_VERSION,
        "train": [infos[case].source_key for case in fold.train],
        "validation": [infos[case].source_key for case in fold.validation],
        "fold": fold.number,
        "config": asdict(config),
        "engine": engine,
    } | ({"start": start} if start else {})
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def annotated_slices(cases: Sequence[str], breast_slices: Mapping[str, int]) -> int:
    """Return how many slices with breast a selection has drawn by hand."""
    return sum(breast_slices[case] for case in cases)
