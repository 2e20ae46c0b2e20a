"""Measure predicted masks against human ones, session by session."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from highdicom import Volume
from tqdm import tqdm

from model.atomic import write_atomically
from model.dataset import folder_name
from model.errors import BrsError
from model.evaluate import (
    CaseScore,
    Origin,
    SliceScore,
    score_case,
    summarise,
    write_csv,
)
from model.preprocess import ORIENTATION, check_same_grid
from plugin.archive import Archive
from plugin.dce import DceRules
from plugin.errors import LoginError, MaskError
from plugin.masks import trainable_mask
from plugin.nifti import read_nifti
from plugin.pipeline import NIFTI_FILE, RESULT_FILE
from plugin.provenance import MaskState
from plugin.report import evaluation_report
from plugin.reports.evaluation import Evaluated
from plugin.session import OpenSession, find_pair, load_session

logger = logging.getLogger(__name__)

SessionScores = tuple[tuple[SliceScore, ...], CaseScore]


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """Which sessions are measured, and what the numbers are about."""

    sessions: Sequence[str] = ()
    """All by default."""
    data: str = "unknown"
    """What the sessions are: ``real``, or the phantom family."""
    rules: DceRules = field(default_factory=DceRules)
    work: Path | None = None
    """Where images are pulled to; ``work`` in the output by default."""


def evaluate_archive(
    predicted: Archive,
    reference: Archive,
    output: Path,
    options: EvaluateOptions,
) -> Evaluated:
    """Score the network's masks in ``predicted`` against human ones in ``reference``.

    Both archives name their sessions alike (they may be the same). Writes
    ``slices.csv``, ``cases.csv``, ``summary.json``, ``failures.json`` and
    ``report.html``.

    Raises
    ------
    MaskError
        If not one session has both masks.
    """
    slices: list[SliceScore] = []
    cases: list[CaseScore] = []
    failures: dict[str, str] = {}
    work = options.work or output / "work"
    wanted = options.sessions or predicted.sessions()
    for session_id in tqdm(wanted, desc="evaluating", disable=None):
        try:
            of_slices, of_case = _score(
                session_id, predicted, reference, work, options.rules
            )
        except LoginError:
            raise
        except BrsError as error:
            logger.warning("session %s is not evaluated: %s", session_id, error)
            failures[session_id] = str(error)
            continue
        finally:
            predicted.release(session_id, work)
        slices += of_slices
        cases.append(of_case)
    if not cases:
        raise _nothing_to_measure(failures)
    origin = Origin(options.data, *_engine(predicted, [c.case_id for c in cases]))
    write_csv(output, slices, cases, origin=origin)
    found = Evaluated(slices, cases, summarise(slices, cases, origin=origin), failures)
    write_atomically(output / "failures.json", json.dumps(failures, indent=1).encode())
    evaluation_report(found, path=output / "report.html")
    return found


def headline(found: Evaluated) -> dict[str, float | int | None]:
    """Return the numbers to quote: Dice per slice and per case, HD95, counts."""
    slices, cases = found.summary.slices, found.summary.cases
    return {
        "cases": len(found.cases),
        "failed": len(found.failures),
        "reference_positive_slices": found.summary.counts.reference_positive,
        "slice_dice_mean": round(slices.dice.mean, 4) if slices.dice else None,
        "case_dice_mean": round(cases.dice.mean, 4) if cases.dice else None,
        "case_dice_min": round(min(case.dice for case in found.cases), 4),
        "case_hd95_mm_mean": round(cases.hd95_mm.mean, 2) if cases.hd95_mm else None,
    }


def _score(
    session_id: str,
    predicted: Archive,
    reference: Archive,
    work: Path,
    rules: DceRules,
) -> SessionScores:
    pair = find_pair(predicted, session_id, work, rules)
    session = load_session(session_id, pair)
    found = predicted_mask(predicted, session, work)
    truth = _human_mask(reference, session, work)
    canonical = [v.to_patient_orientation(ORIENTATION) for v in (found, truth)]
    arrays = [volume.array > 0 for volume in canonical]
    return score_case(session_id, *arrays, spacing_mm=canonical[0].spacing)


def _human_mask(archive: Archive, session: OpenSession, work: Path) -> Volume:
    """Return a person's mask: an approved draft would be compared with itself."""
    found = trainable_mask(archive, session, work)
    if found.state is not MaskState.HUMAN:
        raise MaskError(
            f"session {session.session_id}, mask {found.uid}",
            found=f"a mask in state {found.state}",
            needed="a mask that a person drew or corrected",
            mend="have the session annotated, or evaluate without it",
        )
    return found.volume


def _engine(archive: Archive, session_ids: Sequence[str]) -> tuple[str, str]:
    """Return engine and precision of the predictions, as their results name them."""
    engines = set()
    for session_id in session_ids:
        record = json.loads(archive.read(session_id, RESULT_FILE) or b"{}")
        configuration = record.get("algorithm", {}).get("configuration", "{}")
        engines.add(json.loads(configuration).get("engine", "unknown"))
    precisions = {engine.rpartition("-")[2] for engine in engines}
    return " and ".join(sorted(engines)), " and ".join(sorted(precisions))


def predicted_mask(archive: Archive, session: OpenSession, work: Path) -> Volume:
    """Return the mask that `brs segment` pushed, on the images' grid.

    Raises
    ------
    MaskError
        If there is none. GeometryError if it lies on another grid.
    """
    data = archive.read(session.session_id, NIFTI_FILE)
    if data is None:
        raise MaskError(
            f"session {session.session_id}",
            found="no predicted mask",
            needed=f"{NIFTI_FILE} in its BRS resource",
            mend="run `brs segment` first; a held mask is not pushed",
        )
    path = work / f"{folder_name(session.session_id)}.nii.gz"
    write_atomically(path, data)
    mask = read_nifti(path)
    path.unlink()
    check_same_grid(session.pre, mask)
    return mask


def _nothing_to_measure(failures: Mapping[str, str]) -> MaskError:
    first = next(iter(failures.values()), "the archive has no session")
    return MaskError(
        "archive",
        found=f"no session with a predicted and a human mask ({first})",
        needed="at least one",
        mend="run `brs segment`, and annotate some of the same sessions",
    )
