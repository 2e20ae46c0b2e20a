"""Which scans of a remote session are worth pulling, told by one header of each.

Pulling a whole session to find two series costs ten times the bytes. The first header
of every scan is enough to tell localisers and T2 from DCE, and to order the phases of
one series each; a scan that one header cannot explain is pulled to be sure. The choice
itself is made afterwards, on whole series, by ``plugin.dce.choose``.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from highdicom.volume import VolumeGeometry
from pydicom import Dataset

from plugin.reading.acquisitions import in_order, same_technique
from plugin.reading.elements import text, whole
from plugin.reading.frames import Frame, read_frame, read_series
from plugin.reading.grid import same_slicing
from plugin.reading.pairing import Proposal, propose
from plugin.reading.phases import SeriesPart, TimePoint
from plugin.reading.suitable import unsuitable
from plugin.rules import DceRules
from plugin.series import FrameRef

NOMINAL_STEP_MM = 1.0
"""Slice spacing of a stack known by one header: only its width is looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Glimpse:
    """A scan as one of its headers shows it."""

    scan_id: str
    files: int
    header: Dataset | None
    """As read from bytes, no element converted; None when it could not be read."""


ScanFilter = Callable[[Sequence[Glimpse]], Collection[str]]
"""From what is known of a session's scans to the ids of those to pull."""


def shortlist(glimpses: Sequence[Glimpse], rules: DceRules) -> tuple[str, ...]:
    """Return the ids of the scans to pull: the likely pair, and what is unclear.

    Several phases in one scan count as unclear. Empty when nothing could be a phase.
    """
    if rules.pre_series:
        wanted = {rules.pre_series, rules.post_series}
        return tuple(g.scan_id for g in glimpses if wanted & _names(g))
    unclear = [g for g in glimpses if _is_unclear(g)]
    points = {
        g.scan_id: point
        for g in glimpses
        if g not in unclear and (point := _point(g, rules)) is not None
    }
    likely = {id(point) for point in _likely(_groups(points.values()), rules)}
    chosen = [scan_id for scan_id, point in points.items() if id(point) in likely]
    return (*chosen, *(g.scan_id for g in unclear))


def _names(glimpse: Glimpse) -> set[str]:
    """Return what a site rule may call the scan: series number or UID."""
    if glimpse.header is None:
        return set()
    series = read_series(glimpse.header)
    return {str(series.number), series.series_uid}


def _is_unclear(glimpse: Glimpse) -> bool:
    """Tell whether one header does not say what the scan holds."""
    header = glimpse.header
    if header is None:
        return True
    if text(header, "Modality") not in ("", "MR"):
        return False
    counts = ("NumberOfFrames", "NumberOfTemporalPositions")
    return any((whole(header, keyword) or 1) > 1 for keyword in counts)


def _point(glimpse: Glimpse, rules: DceRules) -> TimePoint | None:
    """Return the scan as one time point, None when it cannot be a DCE phase."""
    header = glimpse.header
    if header is None or text(header, "Modality") not in ("", "MR"):
        return None
    frame = _frame(header)
    if frame.plane is None or frame.problem or glimpse.files < rules.minimum_slices:
        return None
    part = SeriesPart((frame,))
    if unsuitable(part, rules):
        return None
    geometry = VolumeGeometry.from_attributes(
        image_position=frame.plane.position_mm,
        image_orientation=frame.plane.orientation,
        rows=frame.plane.shape[0],
        columns=frame.plane.shape[1],
        pixel_spacing=frame.plane.pixel_mm,
        spacing_between_slices=NOMINAL_STEP_MM,
        number_of_frames=glimpse.files,
        coordinate_system="PATIENT",
    )
    return TimePoint(part, (frame,), geometry, 0, frame.times.acquisition_s)


def _frame(header: Dataset) -> Frame:
    meta = getattr(header, "file_meta", Dataset())
    reference = FrameRef(
        Path(), text(header, "SOPInstanceUID"), text(header, "SOPClassUID")
    )
    syntax = str(meta.get("TransferSyntaxUID", ""))
    return read_frame(header, reference, read_series(header), syntax)


def _groups(points: Iterable[TimePoint]) -> list[list[TimePoint]]:
    """Return the points by slicing, number of slices and technique."""
    groups: list[list[TimePoint]] = []
    for point in points:
        home = next((g for g in groups if _belong(g[0], point)), None)
        if home is None:
            groups.append([point])
        else:
            home.append(point)
    return groups


def _belong(first: TimePoint, second: TimePoint) -> bool:
    return (
        same_slicing(first.part.plane, second.part.plane)
        and first.geometry.spatial_shape == second.geometry.spatial_shape
        and same_technique(first.part.technique, second.part.technique)
    )


def _likely(groups: Sequence[list[TimePoint]], rules: DceRules) -> list[TimePoint]:
    """Return the best pair, and scans that may hold all phases if it is doubtful."""
    proposals = [_proposal(group, rules) for group in groups]
    pairs = [p for p in proposals if isinstance(p, Proposal)]
    top = max((pair.score for pair in pairs), default=0.0)
    best = [pair for pair in pairs if pair.score == top]
    sure = [pair for pair in best if "contrast-unconfirmed" not in pair.flags]
    alone = [] if sure else [group[0] for group in groups if len(group) == 1]
    return [point for pair in best for point in (pair.pre, pair.post)] + alone


def _proposal(group: Sequence[TimePoint], rules: DceRules) -> Proposal | str:
    acquisition = in_order(group, is_one_protocol=True)
    return propose(acquisition, rules, [point.part for point in group])
