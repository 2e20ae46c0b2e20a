"""Find the pre- and first post-contrast volumes of a breast DCE-MR session.

A folder of anything goes in; out comes the pair with its reasons, a confidence and
the flags a person must look at, or a refusal that lists what was found and needed.
"""

import logging
from pathlib import Path

from plugin.errors import InputError
from plugin.nifti import nifti_pair
from plugin.reading.acquisitions import acquisitions
from plugin.reading.flags import (
    confidence,
    has_rival,
    is_unilateral,
    pair_flags,
    session_flags,
)
from plugin.reading.frames import Frame
from plugin.reading.headers import Scan, scan
from plugin.reading.pairing import Proposal, propose
from plugin.reading.phases import TimePoint
from plugin.reading.site_choice import propose_by_rule
from plugin.reading.survey import Survey, broken_relatives, survey, table, unused_files
from plugin.rules import DceRules, read_rules
from plugin.series import DcePair, Phase

__all__ = ["DceRules", "choose", "choose_among", "read_rules"]

logger = logging.getLogger(__name__)

SUBJECT = "session folder"
NEEDED = (
    "a pre-contrast and a first post-contrast T1 volume of one axial breast DCE "
    "acquisition on one grid"
)
MEND = (
    "send the missing series, or name the two series in the [dce] table of the site "
    "configuration"
)
DEFAULT_RULES = DceRules()


def choose(folder: Path, rules: DceRules = DEFAULT_RULES) -> DcePair:
    """Return the pre- and first post-contrast phases in ``folder``, and why.

    Raises
    ------
    InputError
        If no pair can be told with certainty enough to be worth a person's look.
    """
    if not folder.is_dir():
        raise _refusal("no such folder", needed="a folder with one imaging session")
    return choose_among(scan(folder), rules)


def choose_among(headers: Scan, rules: DceRules = DEFAULT_RULES) -> DcePair:
    """Return the pair of a session whose headers are read; see ``choose``."""
    found = survey(headers, rules)
    if not found.scan.frames and found.scan.nifti:
        return nifti_pair(found.scan, rules)
    _check_one(found.scan.frames, what="patient")
    best, rivals = _best_proposal(found, rules)
    _check_one(best.pre.frames + best.post.frames, what="study")
    _check_site_needs(best, rules)
    flags = [*best.flags, *pair_flags(best, rules), *session_flags(found, best, rules)]
    if has_rival(best, rivals):
        flags.append("several-acquisitions")
    pair = _pair(found, best, flags)
    logger.info("confidence %.2f, flags %s", pair.confidence, list(pair.flags))
    return pair


def _best_proposal(
    found: Survey, rules: DceRules
) -> tuple[Proposal, tuple[Proposal, ...]]:
    """Return the best proposal and the other ones, or refuse."""
    if rules.pre_series:
        return propose_by_rule(found, rules), ()
    _check_one([f for p in found.points for f in p.frames], what="study")
    proposals, reasons = [], []
    for group in acquisitions(found.points, tolerance_mm=rules.tolerance_mm):
        proposal = propose(group, rules, found.parts)
        if isinstance(proposal, Proposal):
            proposals.append(proposal)
        else:
            reasons.append(proposal)
    if not proposals:
        why = max(reasons, key=len, default="no series that could be a DCE phase")
        raise _refusal(f"{why}: {table(found)}")
    best, *rivals = sorted(proposals, key=_rank)
    broken = broken_relatives(found, best)
    if broken and not best.is_pre_labelled:
        which = "; ".join(broken)
        raise _refusal(
            f"an incomplete series that may hold the pre-contrast volume: {which}"
        )
    return best, tuple(rivals)


def _rank(proposal: Proposal) -> tuple[float, float, str]:
    """Sort by score, then the earlier series."""
    series = proposal.pre.part.series
    number = float("inf") if series.number is None else series.number
    return -proposal.score, number, series.series_uid


def _check_one(frames: tuple[Frame, ...] | list[Frame], *, what: str) -> None:
    """Refuse frames of several patients or studies, without naming any patient."""
    by_owner: dict[str, str] = {}
    for frame in frames:
        series = frame.series
        owner = series.patient if what == "patient" else series.study_uid
        if owner:
            by_owner.setdefault(owner, series.name)
    if len(by_owner) > 1:
        names = ", ".join(sorted(by_owner.values()))
        noun = {"patient": "patients", "study": "studies"}[what]
        raise InputError(
            SUBJECT,
            found=f"images of {len(by_owner)} {noun}, first in {names}",
            needed=f"one {what} in a session",
            mend="separate them, one session folder each",
        )


def _check_site_needs(best: Proposal, rules: DceRules) -> None:
    names = f"{best.pre.part.series.name} and {best.post.part.series.name}"
    if rules.require_bilateral and is_unilateral(best.pre, rules):
        raise _refusal(
            f"a one-sided field of view in {names}",
            needed="both breasts in one volume, as the site requires",
        )
    lossy = any(f.lossy for f in best.pre.frames + best.post.frames)
    if rules.require_lossless and lossy:
        raise _refusal(
            f"lossy compressed images in {names}",
            needed="lossless images, as the site requires",
        )


def _pair(found: Survey, best: Proposal, flags: list[str]) -> DcePair:
    distinct = tuple(sorted(set(flags)))
    start = best.acquisition.points[0].time_s
    notes = tuple(broken_relatives(found, best))
    return DcePair(
        pre=_phase(best.pre, start),
        post=_phase(best.post, start),
        confidence=confidence(distinct, best.certainty),
        reasons=(*best.reasons, *notes),
        flags=distinct,
        ignored=unused_files(found, (best.pre, best.post)),
    )


def _phase(point: TimePoint, start_s: float | None) -> Phase:
    series = point.part.series
    known = point.time_s is not None and start_s is not None
    return Phase(
        study_uid=series.study_uid,
        series_uid=series.series_uid,
        frame_of_reference_uid=series.frame_of_reference_uid,
        frames=tuple(frame.ref for frame in point.frames),
        description=series.description,
        time_s=(point.time_s or 0.0) - (start_s or 0.0) if known else None,
    )


def _refusal(found: str, *, needed: str = NEEDED) -> InputError:
    return InputError(SUBJECT, found=found, needed=needed, mend=MEND)
