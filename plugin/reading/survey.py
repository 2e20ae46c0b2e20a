"""Survey a scan: each series with its time points, or the reason it is not used."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom.volume import VolumeGeometry
from pydicom.uid import UID

from plugin.reading.acquisitions import acquired_s, same_grid, same_technique
from plugin.reading.frames import Frame
from plugin.reading.grid import same_slicing
from plugin.reading.headers import Scan
from plugin.reading.pairing import Proposal
from plugin.reading.phases import SeriesPart, Split, TimePoint, series_parts, split
from plugin.reading.suitable import plane_name, unsuitable
from plugin.rules import DceRules

MAX_ROWS = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One series part: its time points, or why it is no DCE phase."""

    part: SeriesPart
    split: Split
    reason: str
    """Empty when the part can be used."""

    @property
    def points(self) -> tuple[TimePoint, ...]:
        """Return the usable time points."""
        return () if self.reason else self.split.points


@dataclass(frozen=True, slots=True)
class Survey:
    """All MR series of a session folder."""

    scan: Scan
    entries: tuple[Entry, ...]

    @property
    def parts(self) -> list[SeriesPart]:
        """Return all parts, used or not."""
        return [entry.part for entry in self.entries]

    @property
    def points(self) -> list[TimePoint]:
        """Return all usable time points."""
        return [point for entry in self.entries for point in entry.points]


def survey(scan: Scan, rules: DceRules) -> Survey:
    """Return every series of a scan with its time points and its verdict."""
    entries = []
    for part in series_parts(scan.frames):
        parted = split(part, tolerance_mm=rules.tolerance_mm)
        reason = unsuitable(part, rules)
        if not reason and parted.positions < rules.minimum_slices:
            reason = f"fewer than {rules.minimum_slices} slices"
        entries.append(Entry(part, parted, reason))
    return Survey(scan, tuple(entries))


def table(found: Survey) -> str:
    """Return one line per series, counts and verdict; nothing of the patient."""
    rows = [_row(entry) for entry in found.entries]
    rows += _problem_rows(found.scan.frames)
    rows += [f"{d.path}: {d.found}" for d in found.scan.damaged]
    rows = sorted(rows)
    if len(rows) > MAX_ROWS:
        rows = [*rows[:MAX_ROWS], f"and {len(rows) - MAX_ROWS} more"]
    rows += [f"{n} files: {why}" for why, n in sorted(found.scan.ignored.items())]
    return "; ".join(rows) or "no file at all"


def unused_files(found: Survey, pair: Iterable[TimePoint]) -> dict[str, int]:
    """Return how many files were not used, by reason."""
    used = {frame.ref.path for point in pair for frame in point.frames}
    counts = Counter(found.scan.ignored)
    if found.scan.nifti:
        counts["NIfTI beside DICOM"] = len(found.scan.nifti)
    for frame in _one_per_file(f for f in found.scan.frames if f.problem):
        counts[frame.problem] += 1
        used.add(frame.ref.path)
    for entry in found.entries:
        for frame in _one_per_file(entry.part.frames):
            if frame.ref.path not in used:
                counts[entry.reason or "usable, but not one of the pair"] += 1
                used.add(frame.ref.path)
    return dict(counts)


def broken_relatives(found: Survey, proposal: Proposal) -> list[str]:
    """Return series that may hide an earlier time point of the proposed acquisition.

    They share its slicing and technique, but slices are missing, doubled or damaged.
    """
    broken = []
    for entry in found.entries:
        if not entry.reason and _is_kin(entry.part.frames[0], proposal):
            broken += _broken(entry, proposal)
    for frame in found.scan.frames:
        if frame.problem and _is_kin(frame, proposal):
            file = frame.ref.path.name
            broken.append(f"{frame.series.name}: {frame.problem} in {file}")
    return list(dict.fromkeys(broken))


def _broken(entry: Entry, proposal: Proposal) -> list[str]:
    name = entry.part.series.name
    is_own = entry.part is proposal.post.part
    problems = [
        f"{name}: time {rank + 1}: {why}"
        for rank, why in entry.split.problems.items()
        if not (is_own and rank > proposal.post.rank)
    ]
    grid = proposal.pre.geometry
    cropped = [
        f"{name}: {p.geometry.spatial_shape[0]} of {grid.spatial_shape[0]} slices"
        for p in entry.points
        if is_shifted(p.geometry, grid) and not (is_own and p.rank > proposal.post.rank)
    ]
    return problems + cropped


def is_shifted(grid: VolumeGeometry, other: VolumeGeometry) -> bool:
    """Tell whether two stacks lie on one lattice of slices but do not coincide."""
    if grid.spatial_shape[1:] != other.spatial_shape[1:] or same_grid(grid, other, 0.5):
        return False
    if not np.allclose(grid.affine[:3, :3], other.affine[:3, :3], atol=0.01):
        return False
    offset = np.linalg.solve(
        other.affine[:3, :3], grid.affine[:3, 3] - other.affine[:3, 3]
    )
    near = abs(offset[0] - round(offset[0])) < 0.1 and np.allclose(
        offset[1:], 0, atol=1
    )
    return bool(near and abs(offset[0]) < other.spatial_shape[0])


def _is_kin(frame: Frame, proposal: Proposal) -> bool:
    """Tell whether a frame could be of the acquisition, up to its first post."""
    own, after = proposal.pre.part, acquired_s(proposal.post)
    if frame.plane is None or not same_slicing(frame.plane, own.plane):
        return False
    if frame.series.series_uid not in {
        own.series.series_uid,
        proposal.post.part.series.series_uid,
    }:
        start = frame.times.acquisition_s
        if start is not None and after is not None and start > after:
            return False
    return same_technique(frame.technique, own.technique)


def _row(entry: Entry) -> str:
    part, plane = entry.part, entry.part.plane
    times = len(entry.split.points) + len(entry.split.problems)
    verdict = entry.reason or "usable"
    for rank, why in entry.split.problems.items():
        verdict += f", time {rank + 1}: {why}"
    return (
        f"{part.series.name} ({UID(part.frames[0].ref.sop_class_uid).name}): "
        f"{len(part.frames)} images, {entry.split.positions} slices, {times} times, "
        f"{plane_name(plane.orientation)} {plane.shape[0]}x{plane.shape[1]}, {verdict}"
    )


def _problem_rows(frames: Sequence[Frame]) -> list[str]:
    bad = [frame for frame in frames if frame.problem]
    counts = Counter((frame.series.name, frame.problem) for frame in bad)
    names = {(f.series.name, f.problem): f.ref.path.name for f in reversed(bad)}
    return [
        f"{key[0]}: {n} images with {key[1]}, first in {names[key]}"
        for key, n in counts.items()
    ]


def _one_per_file(frames: Iterable[Frame]) -> list[Frame]:
    return list({frame.ref.path: frame for frame in frames}.values())
