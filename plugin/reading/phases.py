"""Split the frames of a series into time points, each a volume of its own.

Position comes first: several images at one position are several time points (or
duplicates). Which image belongs to which is read from the first clock or counter that
separates them everywhere, because no single one is filled in by every scanner.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom.volume import VolumeGeometry
from numpy.typing import NDArray

from plugin.errors import InputError
from plugin.reading.frames import Frame, Plane, Series, Technique
from plugin.reading.grid import geometry, positions_mm, same_slicing, slice_order

Clock = Callable[[Frame], float | None]
Labels = NDArray[np.int64]

CLOCKS: dict[str, Clock] = {
    "temporal position": lambda f: f.times.temporal_position,
    "trigger time": lambda f: f.times.trigger_s,
    "acquisition time": lambda f: f.times.acquisition_s,
    "content time": lambda f: f.times.content_s,
    "acquisition number": lambda f: f.times.acquisition_number,
}
"""Clocks and counters in the order they are trusted."""
INSTANCE_ORDER = "instance number"
COMPLETE_SHARE = 0.5
"""A clock that leaves more than this share of time points incomplete is not one."""


@dataclass(frozen=True, slots=True)
class SeriesPart:
    """Usable frames of one series that share slicing and technique."""

    frames: tuple[Frame, ...]

    @property
    def series(self) -> Series:
        """Return the series the frames belong to."""
        return self.frames[0].series

    @property
    def technique(self) -> Technique:
        """Return how the frames were acquired."""
        return self.frames[0].technique

    @property
    def plane(self) -> Plane:
        """Return the plane of the first frame."""
        plane = self.frames[0].plane
        if plane is None:
            raise ValueError("a part holds frames with a plane only")
        return plane


@dataclass(frozen=True, slots=True)
class TimePoint:
    """One volume of a part: ``frames[i]`` is slice ``i``."""

    part: SeriesPart
    frames: tuple[Frame, ...]
    geometry: VolumeGeometry
    rank: int
    """Order in the part, from 0."""
    time_s: float | None
    """Absolute seconds; None when no header clock tells."""
    clock: str = ""
    """What told the time points of the part apart; empty for a single one."""


@dataclass(frozen=True, slots=True)
class Split:
    """The time points of a part, and what is wrong with the others."""

    part: SeriesPart
    points: tuple[TimePoint, ...]
    positions: int
    problems: dict[int, str]
    """Rank of an unusable time point -> why; rank 0 when none could be told apart."""


def series_parts(frames: Sequence[Frame]) -> list[SeriesPart]:
    """Group usable frames by series, slicing and technique."""
    groups: dict[tuple[str, Technique], list[list[Frame]]] = {}
    for frame in frames:
        if frame.plane is None or frame.problem:
            continue
        group = groups.setdefault((frame.series.series_uid, frame.technique), [])
        home = next((g for g in group if _same_slicing(g[0], frame)), None)
        if home is None:
            group.append([frame])
        else:
            home.append(frame)
    return [SeriesPart(tuple(g)) for group in groups.values() for g in group]


def split(part: SeriesPart, *, tolerance_mm: float) -> Split:
    """Return the time points of ``part``; an incomplete one becomes a problem."""
    planes = [f.plane for f in part.frames if f.plane is not None]
    where = _position_index(positions_mm(planes), tolerance_mm)
    clock, labels = _time_labels(part.frames, where)
    count = int(where.max()) + 1
    if labels is None:
        found = f"{_crowded(where)} positions with images that no time tells apart"
        return Split(part, (), count, {0: found})
    groups = [
        [f for f, label in zip(part.frames, labels, strict=True) if label == k]
        for k in range(int(labels.max()) + 1)
    ]
    points: list[TimePoint] = []
    problems: dict[int, str] = {}
    for rank, (group, time_s) in enumerate(zip(groups, _times(groups), strict=True)):
        try:
            frames, grid = _volume(part, group, tolerance_mm=tolerance_mm)
            points.append(TimePoint(part, frames, grid, rank, time_s, clock))
        except InputError as error:
            problems[rank] = error.found
    return Split(part, tuple(points), count, problems)


def _volume(
    part: SeriesPart, frames: Sequence[Frame], *, tolerance_mm: float
) -> tuple[tuple[Frame, ...], VolumeGeometry]:
    planes = [f.plane for f in frames if f.plane is not None]
    order = slice_order(planes)
    grid = geometry(
        [planes[i] for i in order],
        subject=part.series.name,
        frame_of_reference_uid=part.series.frame_of_reference_uid,
        tolerance_mm=tolerance_mm,
    )
    return tuple(frames[i] for i in order), grid


def _same_slicing(first: Frame, second: Frame) -> bool:
    if first.plane is None or second.plane is None:
        return False
    return same_slicing(first.plane, second.plane)


def _position_index(along: NDArray[np.float64], tolerance_mm: float) -> Labels:
    """Return the number of each frame's position along the normal, 0 the lowest."""
    order = np.argsort(along, kind="stable")
    rises = np.diff(along[order]) > tolerance_mm
    index = np.empty(len(along), np.int64)
    index[order] = np.concatenate([[0], np.cumsum(rises)])
    return index


def _crowded(where: Labels) -> int:
    return int((np.bincount(where) > 1).sum())


def _time_labels(frames: Sequence[Frame], where: Labels) -> tuple[str, Labels | None]:
    """Return the clock that separates the time points, and the label of each frame."""
    if _crowded(where) == 0:
        return "", np.zeros(len(frames), np.int64)
    for name, clock in CLOCKS.items():
        values = [clock(frame) for frame in frames]
        known = np.array([v for v in values if v is not None])
        if len(known) < len(frames):
            continue
        for rule in (_by_value, _by_interval):
            if (labels := rule(known, where)) is not None:
                return name, labels
    numbers = [f.times.instance_number for f in frames]
    counters = np.array([v for v in numbers if v is not None])
    if len(counters) < len(frames):
        return "", None
    return INSTANCE_ORDER, _by_rank(counters, where)


def _by_value(values: NDArray[np.float64], where: Labels) -> Labels | None:
    """Separate one value per time point, if most hold every position once."""
    distinct, labels = np.unique(np.round(values, 3), return_inverse=True)
    pairs = Counter(zip(labels.tolist(), where.tolist(), strict=True))
    if len(distinct) < 2 or max(pairs.values()) > 1:
        return None
    complete = np.bincount(labels) == where.max() + 1
    return labels if complete.mean() >= COMPLETE_SHARE else None


def _by_interval(values: NDArray[np.float64], where: Labels) -> Labels | None:
    """Separate a value per image, if no time point overlaps the next."""
    counts = np.bincount(where)
    times = int(counts.max())
    full = np.flatnonzero(counts == times)
    if len(full) < COMPLETE_SHARE * len(counts):
        return None
    sorted_values = np.stack([np.sort(values[where == p]) for p in full])
    first, last = sorted_values.min(axis=0), sorted_values.max(axis=0)
    if (last[:-1] >= first[1:]).any():
        return None
    labels = np.searchsorted((last[:-1] + first[1:]) / 2, values).astype(np.int64)
    pairs = Counter(zip(labels.tolist(), where.tolist(), strict=True))
    return labels if max(pairs.values()) == 1 else None


def _by_rank(values: NDArray[np.float64], where: Labels) -> Labels | None:
    """Count the images at each position, if all positions hold equally many."""
    counts = np.bincount(where)
    distinct = set(zip(values.tolist(), where.tolist(), strict=True))
    if (counts != counts[0]).any() or len(distinct) < len(values):
        return None
    order = np.lexsort((values, where))
    labels = np.empty(len(values), np.int64)
    labels[order] = np.arange(len(values)) % counts[0]
    return labels


def _times(groups: Sequence[Sequence[Frame]]) -> list[float | None]:
    """Return absolute seconds per time point, None where no clock tells."""
    acquired, content, trigger = (
        [_earliest(group, CLOCKS[name]) for group in groups]
        for name in ("acquisition time", "content time", "trigger time")
    )
    if _is_rising(acquired):
        return acquired
    start = content[0] if acquired[0] is None else acquired[0]
    if start is not None and len(groups) > 1 and _is_rising(trigger):
        return [start + t for t in trigger if t is not None]
    if _is_rising(content):
        return content
    return [start, *[None] * (len(groups) - 1)]


def _earliest(frames: Sequence[Frame], clock: Clock) -> float | None:
    values = [clock(frame) for frame in frames]
    return min((v for v in values if v is not None), default=None)


def _is_rising(values: Sequence[float | None]) -> bool:
    known = [v for v in values if v is not None]
    return len(known) == len(values) and all(np.diff(known) > 0)
