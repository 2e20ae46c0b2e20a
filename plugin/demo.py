"""The whole loop on a synthetic cohort: nothing to download, nothing to own.

One synthetic site images synthetic patients. They are ranked by the masks of the
default checkpoint, or of another, or without a network; the first two thirds of
the ranking are "annotated" with their known masks, one fold is fine-tuned on them from
that checkpoint, or trained from scratch without one, and the rest is segmented, pushed
and measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from tqdm import tqdm

from model.checkpoint import Checkpoint, ReadyCheckpoint, read_checkpoint
from model.engine import Engine, choose_engine
from model.phantom import PhantomCase, draw_patient, draw_site, make_case
from model.progress import TrainConfig
from model.synthetic.site import FatSuppression, Site
from plugin.dce import DceRules
from plugin.evaluate import EvaluateOptions, evaluate_archive
from plugin.exchange import HUMAN_FILE, store_human_mask
from plugin.folder_archive import FolderArchive
from plugin.phantom_dicom import VendorStyle, write_session
from plugin.pipeline import PREVIEW_FILE, SEG_FILE, Segmenter
from plugin.rank import RankOptions, RankOutcome, rank_archive
from plugin.report import DemoFindings, demo_report
from plugin.reports.evaluation import Evaluated
from plugin.segment import BatchItem, Delivery, segment_archive, tally
from plugin.session import open_session
from plugin.train import (
    TrainOptions,
    TrainOutcome,
    or_unknown,
    train_archive,
    trained_folds,
)

CONTRAST_SPREAD = 0.2
"""Tissues look much as in a textbook; 1 would be anything."""
CALIBRATION_SLICES = 64
TUNED_BATCH, TUNED_RATE = 8, 1e-4
Known = TypeVar("Known", bound=Checkpoint | ReadyCheckpoint)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Size of the demo; the defaults fit a laptop without a GPU."""

    cases: int = 12
    seed: int = 0
    slices: int = 24
    matrix_px: int = 192
    grid_px: int = 112
    epochs: int = 13
    coarse_epochs: int = 6
    batch: int = 4
    tuned_epochs: int = 3
    """Of fine-tuning; its grid is one of the checkpoint's."""
    strategy: str = "bag"

    @property
    def annotated(self) -> int:
        """Two thirds of the cases."""
        return self.cases * 2 // 3


@dataclass(frozen=True, slots=True)
class Cohort:
    """The sessions, and the same sessions' true masks in an archive apart."""

    archive: FolderArchive
    truth: FolderArchive


def run_demo(
    output: Path,
    options: DemoOptions,
    drawing: Segmenter | None = None,
    start: Checkpoint | None = None,
) -> dict[str, Any]:
    """Run every step into ``output`` and write ``report.html``; return the headline.

    ``drawing`` makes the masks that are ranked; None ranks the body's boundary.
    ``start`` is fine-tuned; None trains from scratch.
    """
    drawing = drawing and replace(drawing, checkpoint=_quick(drawing.checkpoint))
    start = start and _quick(start)
    _step(1, f"imaging {options.cases} synthetic patients")
    cohort = make_cohort(output, options)
    archive, work = cohort.archive, output / "work"
    engine = choose_engine(training=True)
    how = "with a checkpoint's masks" if drawing else "without any network"
    _step(2, f"ranking them for annotation, {how}")
    ranked = rank_archive(
        archive,
        output / "ranking",
        work,
        RankOptions(options.strategy, options.seed, segmenter=drawing),
    )
    annotated = [p.case_id for p in ranked.ranking.picks[: options.annotated]]
    annotate(cohort, annotated)
    doing = "fine-tuning" if start else "training"
    _step(3, f"{doing} on the first {len(annotated)} with their known masks ({engine})")
    trained = train_archive(
        archive, output / "training", work, _training(options, engine, start)
    )
    _step(4, "segmenting the others")
    segmenter = Segmenter(read_checkpoint(trained.checkpoint), engine)
    segmented = segment_archive(
        archive,
        segmenter,
        Delivery(output / "masks", output / "work"),
        skip_annotated=True,
    )
    _step(5, "measuring against the masks that no network saw")
    found = evaluate_archive(
        archive,
        cohort.truth,
        output / "evaluation",
        EvaluateOptions(
            sessions=[i.session_id for i in segmented], data="synthetic, one site"
        ),
    )
    return _report(output, Findings(cohort, ranked, trained, segmented, found))


def _quick(checkpoint: Known) -> Known:
    """Return a checkpoint at the smallest grid that its pretraining ended with.

    The default one knows two; at the smaller a mask costs less than half.
    """
    manifest = checkpoint.manifest
    recipe: dict[str, Any] = manifest.config.get("recipe", {"stages": [{}]})
    others = recipe["stages"][-1].get("others_px", ())
    smallest = min([manifest.grid_px, *others])
    return replace(checkpoint, manifest=replace(manifest, grid_px=smallest))


@dataclass(frozen=True, slots=True)
class Findings:
    """What each step of the demo found."""

    cohort: Cohort
    ranked: RankOutcome
    trained: TrainOutcome
    segmented: Sequence[BatchItem]
    evaluated: Evaluated

    def headline(self) -> dict[str, Any]:
        """Return the numbers that the command prints."""
        dice = [case.dice for case in self.evaluated.cases]
        root = self.cohort.archive.root
        return {
            "cases": len(self.cohort.archive.sessions()),
            "ranked": len(self.ranked.ranking.picks),
            "annotated": len(self.trained.gathered.infos),
            "test_cases": len(dice),
            "test_dice_mean": round(sum(dice) / len(dice), 4),
            "test_dice_min": round(min(dice), 4),
            "energy_kwh": or_unknown(self.trained.footprint.energy_kwh),
            "cfp_kg": or_unknown(self.trained.footprint.cfp_kg),
            "seg_files": len(list(root.glob(f"*/BRS/{SEG_FILE}"))),
            "failed": tally(self.segmented)["failed"],
        }


def _report(output: Path, found: Findings) -> dict[str, Any]:
    path = output / "report.html"
    result = found.headline() | {"report": str(path)}
    shown = DemoFindings(
        ranking=found.ranked.ranking,
        overlays=found.ranked.overlays,
        annotated=result["annotated"],
        folds=trained_folds(found.trained.folds),
        evaluated=found.evaluated,
        result=result,
        previews=_previews(output / "masks", found.segmented),
        verdicts={
            i.session_id: f"{i.verdict}: {i.reason}" if i.reason else i.verdict
            for i in found.segmented
        },
        failures=found.ranked.failures,
    )
    demo_report(path, shown)
    return result


def _step(number: int, doing: str) -> None:
    click.echo(f"{number}/5 {doing}", err=True)


def make_cohort(output: Path, options: DemoOptions) -> Cohort:
    """Write the patients as DICOM sessions, and their true masks beside the archive."""
    cohort = Cohort(_folder(output / "archive"), _folder(output / "truth"))
    rng = np.random.default_rng(options.seed)
    site = draw_scanner(rng, options)
    patients = [draw_patient(rng) for _ in range(options.cases)]
    for number, patient in enumerate(tqdm(patients, desc="imaging", disable=None)):
        session_id = f"SYN{number + 1:03d}"
        _folder(cohort.truth.root / session_id)
        if cohort.truth.read(session_id, HUMAN_FILE) is None:
            case = make_case(patient, site, seed=options.seed * 1000 + number)
            _write_case(case, cohort, session_id)
    return cohort


def draw_scanner(rng: np.random.Generator, options: DemoOptions) -> Site:
    """Draw one scanner; it never suppresses fat, so that minutes of training do."""
    site = draw_site(rng, slices=options.slices, matrix_px=options.matrix_px)
    protocol = replace(
        site.protocol,
        fat_suppression=FatSuppression.NONE,
        contrast_spread=CONTRAST_SPREAD,
    )
    return replace(site, protocol=protocol)


def annotate(cohort: Cohort, session_ids: Sequence[str]) -> None:
    """Play the annotator: store the true masks of these sessions with them."""
    for session_id in session_ids:
        truth = cohort.truth.read(session_id, HUMAN_FILE)
        cohort.archive.write(session_id, HUMAN_FILE, truth or b"")


def _write_case(case: PhantomCase, cohort: Cohort, session_id: str) -> None:
    """Write images, then the true mask: a mask says that its session is whole."""
    folder = cohort.archive.root / session_id
    write_session(
        case, folder, style=VendorStyle.SEPARATE_SERIES, session_id=session_id
    )
    session = open_session(session_id, folder, DceRules())
    union = (case.right | case.left).astype(np.uint8)
    mask = case.phases[0].with_array(union).match_geometry(session.pre)
    store_human_mask(cohort.truth, session, mask)


def _previews(masks: Path, segmented: Sequence[BatchItem]) -> dict[str, bytes]:
    paths = {i.session_id: masks / i.session_id / PREVIEW_FILE for i in segmented}
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


def _folder(root: Path) -> FolderArchive:
    root.mkdir(parents=True, exist_ok=True)
    return FolderArchive(root)


def _training(
    options: DemoOptions, engine: Engine, start: Checkpoint | None
) -> TrainOptions:
    """One fold, its rate falling to zero: what minutes allow."""
    config = TrainConfig(
        grid_px=options.grid_px,
        epochs=options.epochs,
        batch=options.batch,
        schedule="cosine",
        folds=options.annotated,
        mirror=True,
        coarse_epochs=options.coarse_epochs,
        calibration_slices=CALIBRATION_SLICES,
        seed=options.seed,
    )
    if start:
        config = replace(
            config,
            grid_px=start.manifest.grid_px,
            epochs=options.tuned_epochs,
            batch=TUNED_BATCH,
            learning_rate=TUNED_RATE,
            coarse_epochs=0,
        )
    return TrainOptions(engine=engine, config=config, only_fold=0, start=start)
