"""Bring time points of one or several series together into acquisitions, in time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from highdicom.volume import VolumeGeometry

from plugin.reading.frames import Technique
from plugin.reading.phases import CLOCKS, INSTANCE_ORDER, SeriesPart, TimePoint
from plugin.reading.words import stem

TECHNIQUE_TOLERANCE = 0.1
"""Relative difference of echo time, repetition time and flip angle in one protocol."""


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Volumes on one grid by one technique, in time order."""

    points: tuple[TimePoint, ...]
    flags: tuple[str, ...]
    """Doubts about the order."""
    is_one_protocol: bool
    """All series have the same name but for phase words and numbers."""

    @property
    def parts(self) -> tuple[SeriesPart, ...]:
        """Return the series parts in order of their first time point."""
        return tuple({id(p.part): p.part for p in self.points}.values())


def acquisitions(
    points: Sequence[TimePoint], *, tolerance_mm: float
) -> list[Acquisition]:
    """Return all groups of time points that could be one acquisition.

    A group by grid and technique is offered whole, and once more per protocol name
    if its series have several: the pairing decides which makes sense.
    """

    def on_one_grid(a: TimePoint, b: TimePoint) -> bool:
        return same_grid(a.geometry, b.geometry, tolerance_mm) and same_technique(
            a.part.technique, b.part.technique
        )

    found = []
    for group in _clusters(points, on_one_grid):
        protocols = _clusters(group, _same_protocol)
        found.append(in_order(group, is_one_protocol=len(protocols) == 1))
        if len(protocols) > 1:
            found += [in_order(p, is_one_protocol=True) for p in protocols]
    return found


def same_grid(a: VolumeGeometry, b: VolumeGeometry, tolerance_mm: float) -> bool:
    """Tell whether no voxel of two grids lies further apart than the tolerance."""
    if a.spatial_shape != b.spatial_shape:
        return False
    last = np.array([n - 1 for n in a.spatial_shape])
    corners = np.array(np.meshgrid(*zip((0, 0, 0), last, strict=True))).reshape(3, -1)
    difference = a.affine - b.affine
    shift = difference[:3, :3] @ corners + difference[:3, 3:]
    return bool(np.linalg.norm(shift, axis=0).max() <= tolerance_mm)


def same_technique(a: Technique, b: Technique) -> bool:
    """Tell whether two techniques are one protocol's; what is not said is not held."""
    pairs = (
        (a.echo_ms, b.echo_ms),
        (a.repetition_ms, b.repetition_ms),
        (a.flip_deg, b.flip_deg),
    )
    return all(
        x is None or y is None or abs(x - y) <= TECHNIQUE_TOLERANCE * max(x, y)
        for x, y in pairs
    )


def acquired_s(point: TimePoint) -> float | None:
    """Return the earliest acquisition time among the frames of a time point."""
    values = [frame.times.acquisition_s for frame in point.frames]
    return min((v for v in values if v is not None), default=None)


def _clusters(
    points: Sequence[TimePoint], belong: Callable[[TimePoint, TimePoint], bool]
) -> list[list[TimePoint]]:
    groups: list[list[TimePoint]] = []
    for point in points:
        home = next((g for g in groups if belong(g[0], point)), None)
        if home is None:
            groups.append([point])
        else:
            home.append(point)
    return groups


def _same_protocol(a: TimePoint, b: TimePoint) -> bool:
    if a.part.series.series_uid == b.part.series.series_uid:
        return True
    return (
        a.part.technique.image_type == b.part.technique.image_type
        and a.part.technique.options == b.part.technique.options
        and stem(a.part.series.description) == stem(b.part.series.description)
    )


def in_order(points: Sequence[TimePoint], *, is_one_protocol: bool) -> Acquisition:
    """Sort by the first clock that separates all points, else by series number."""
    flags = []
    if any(point.clock == INSTANCE_ORDER for point in points):
        flags.append("order-by-instance-number")
    readings = _readings(points)
    if readings is None:
        ordered = tuple(sorted(points, key=_series_order))
        if len({id(point.part) for point in points}) > 1:
            flags.append("order-by-series-number")
    else:
        ordered = tuple(points[i] for i in np.argsort(readings))
    acquired = [acquired_s(point) for point in ordered]
    known = [value for value in acquired if value is not None]
    if any(later < earlier for earlier, later in pairwise(known)):
        flags.append("times-disagree")
    return Acquisition(ordered, tuple(flags), is_one_protocol)


def _readings(points: Sequence[TimePoint]) -> list[float] | None:
    """Return a time per point from the first clock that tells all of them apart."""
    content = CLOCKS["content time"]
    for values in (
        [point.time_s for point in points],
        [content(point.frames[0]) for point in points],
    ):
        known = [value for value in values if value is not None]
        if len(set(known)) == len(points):
            return known
    return None


def _series_order(point: TimePoint) -> tuple[float, str, int]:
    series = point.part.series
    number = float("inf") if series.number is None else series.number
    return (number, series.series_uid, point.rank)
