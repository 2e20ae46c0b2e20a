"""What a person must look at in a chosen pair, and how far it lowers the confidence."""

from collections.abc import Iterable, Sequence
from math import prod

from plugin.reading.acquisitions import same_grid, same_technique
from plugin.reading.pairing import Proposal
from plugin.reading.phases import TimePoint
from plugin.reading.suitable import tilt_deg, width_mm
from plugin.reading.survey import Survey, broken_relatives
from plugin.rules import DceRules

BASE_CONFIDENCE = 0.98
WEIGHTS = {
    "contrast-unconfirmed": 0.75,
    "contrast-tags-disagree": 0.6,
    "damaged-files": 0.65,
    "earlier-volume": 0.5,
    "frame-of-reference-differs": 0.7,
    "incomplete-series": 0.7,
    "long-gap": 0.6,
    "lossy": 0.8,
    "mixed-orientation": 0.7,
    "not-prone": 0.5,
    "oblique": 0.9,
    "order-by-instance-number": 0.5,
    "order-by-series-number": 0.6,
    "other-body-part": 0.5,
    "patient-position-unknown": 0.9,
    "phase-between": 0.7,
    "several-acquisitions": 0.8,
    "supine": 0.5,
    "time-unknown": 0.9,
    "times-disagree": 0.5,
    "ultrafast": 0.6,
    "unilateral": 0.5,
}
"""Flag -> factor of the confidence; every flag this package raises is listed."""

OTHER_PARTS = {
    *("HEAD", "BRAIN", "SKULL", "NECK", "SPINE", "CSPINE", "TSPINE", "LSPINE"),
    *("ABDOMEN", "LIVER", "KIDNEY", "PELVIS", "PROSTATE", "UTERUS", "HIP", "EXTREMITY"),
    *("LEG", "THIGH", "KNEE", "ANKLE", "FOOT", "SHOULDER", "ARM", "ELBOW", "WRIST"),
    "HAND",
}
"""BodyPartExamined (PS3.16 annex L) that no breast examination has. Other words say
nothing: the element is free text on many scanners."""
OBLIQUE_DEG = 15.0
OFF_CENTRE_SHARE = 0.25
"""A field of view whose centre lies this share of its width off the mid-line."""
RIVAL_MARGIN = 1.0


def confidence(flags: Iterable[str], certainty: float = 1.0) -> float:
    """Return 0 to 1: the product of the certainty and the factors of all flags."""
    factors = (WEIGHTS[flag] for flag in flags)
    return round(BASE_CONFIDENCE * certainty * prod(factors), 3)


def pair_flags(proposal: Proposal, rules: DceRules) -> list[str]:
    """Return the flags of the two volumes themselves."""
    points = (proposal.pre, proposal.post)
    frames = [frame for point in points for frame in point.frames]
    flags = [*_position_flags(proposal.pre)]
    if proposal.pre.part.series.body_part in OTHER_PARTS:
        flags.append("other-body-part")
    if is_unilateral(proposal.pre, rules):
        flags.append("unilateral")
    if tilt_deg(proposal.pre.geometry) > OBLIQUE_DEG:
        flags.append("oblique")
    if any(frame.lossy for frame in frames):
        flags.append("lossy")
    if len({frame.series.frame_of_reference_uid for frame in frames}) > 1:
        flags.append("frame-of-reference-differs")
    return flags


def session_flags(found: Survey, proposal: Proposal, rules: DceRules) -> list[str]:
    """Return the flags that come from the rest of the folder."""
    flags = []
    if found.scan.damaged or any(frame.problem for frame in found.scan.frames):
        flags.append("damaged-files")
    own = {point.part.series.series_uid for point in (proposal.pre, proposal.post)}
    mine = [e for e in found.entries if e.part.series.series_uid in own]
    planes = {(e.part.series.series_uid, e.part.plane.orientation) for e in mine}
    if len(planes) > len(own):
        flags.append("mixed-orientation")
    broken = any(entry.split.problems for entry in mine if not entry.reason)
    if broken or broken_relatives(found, proposal):
        flags.append("incomplete-series")
    if not proposal.is_pre_labelled and _has_earlier(found, proposal, rules):
        flags.append("earlier-volume")
    return flags


def _has_earlier(found: Survey, proposal: Proposal, rules: DceRules) -> bool:
    """Tell whether a volume outside the acquisition could be its pre-contrast one."""
    own = {id(point) for point in proposal.acquisition.points}
    pre = proposal.pre
    return any(
        id(point) not in own
        and (point.time_s is None or pre.time_s is None or point.time_s < pre.time_s)
        and same_grid(point.geometry, pre.geometry, rules.tolerance_mm)
        and same_technique(point.part.technique, pre.part.technique)
        for point in found.points
    )


def has_rival(best: Proposal, others: Sequence[Proposal]) -> bool:
    """Tell whether another acquisition of the session scores nearly as well."""
    own = {id(part) for part in best.acquisition.parts}
    return any(
        other.score > best.score - RIVAL_MARGIN
        and not own & {id(part) for part in other.acquisition.parts}
        for other in others
    )


def is_unilateral(point: TimePoint, rules: DceRules) -> bool:
    """Tell whether the field of view, or the header, is of one side only."""
    width = width_mm(point.geometry)
    centre_mm = abs(float(point.geometry.center_position[0]))
    return (
        width < rules.minimum_width_mm
        or centre_mm > OFF_CENTRE_SHARE * width
        or point.part.series.laterality in {"L", "R"}
    )


def _position_flags(point: TimePoint) -> list[str]:
    """Return what PatientPosition says against prone (PS3.3 C.7.3.1.1.2)."""
    position = point.part.series.patient_position
    if position in {"HFP", "FFP"}:
        return []
    if position in {"HFS", "FFS"}:
        return ["supine"]
    return ["not-prone"] if position else ["patient-position-unknown"]
