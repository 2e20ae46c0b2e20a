"""What a SEG says of its source: kept from the scan, parsed again where that is old."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from seg_sources import SourceStyle, write_phase
from synthetic import Plan, slices, write, write_pair
from test_seg import STYLES, build, some_masks

from plugin import seg
from plugin.dce import choose
from plugin.errors import MaskError
from plugin.reading.headers import scan
from plugin.seg_source import read_source
from plugin.series import Phase
from plugin.volumes import load_pair


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """Return how often each file's header is parsed from here on."""
    counts: Counter[Path] = Counter()
    dcmread: Callable[..., Any] = pydicom.dcmread

    def counted(source: Any, *args: Any, **options: Any) -> Any:
        counts[source if isinstance(source, Path) else Path(source.name)] += 1
        return dcmread(source, *args, **options)

    monkeypatch.setattr(pydicom, "dcmread", counted)
    return counts


def as_scanned(phase: Phase, folder: Path) -> Phase:
    """Return a phase whose frames are as a scan of their folder finds them."""
    found = {
        (frame.ref.sop_instance_uid, frame.ref.frame_number): frame.ref
        for frame in scan(folder).frames
    }
    frames = (found[f.sop_instance_uid, f.frame_number] for f in phase.frames)
    return replace(phase, frames=tuple(frames))


def seg_bytes(phase: Phase, style: SourceStyle) -> bytes:
    return seg.to_bytes(build(phase, some_masks(style)))


def test_a_header_is_parsed_once_from_the_folder_to_the_seg(
    tmp_path: Path, parsed: Counter[Path]
) -> None:
    write_pair(tmp_path)
    pair = choose(tmp_path)
    pre, _ = load_pair(pair)
    nothing = np.zeros(pre.spatial_shape, bool)
    build(pair.pre, (nothing, nothing))
    # The first file once more, for patient and study.
    first, *others = (frame.path for frame in pair.pre.frames)
    after = (frame.path for frame in pair.post.frames)
    assert parsed == {first: 2} | dict.fromkeys([*others, *after], 1)


@pytest.mark.parametrize("name", STYLES)
def test_a_scanned_phase_gives_the_bytes_of_a_parsed_one(
    tmp_path: Path, name: str, parsed: Counter[Path]
) -> None:
    phase = write_phase(tmp_path, STYLES[name])
    scanned = as_scanned(phase, tmp_path)
    parsed.clear()
    found = seg_bytes(scanned, STYLES[name])
    assert parsed == {phase.frames[0].path: 1}
    assert found == seg_bytes(phase, STYLES[name])


@pytest.mark.parametrize("name", STYLES)
def test_only_a_frame_among_others_is_referred_to_by_number(
    tmp_path: Path, name: str
) -> None:
    phase = write_phase(tmp_path, STYLES[name])
    numbers = tuple(frame.frame_number for frame in phase.frames)
    expected = numbers if STYLES[name].multi_frame else (None,) * len(numbers)
    for given in (phase, as_scanned(phase, tmp_path)):
        assert read_source(given).frame_numbers == expected


@pytest.mark.parametrize("tags", [{"SliceThickness": None}, {"SliceThickness": "0"}])
def test_a_phase_without_thickness_has_the_same_when_scanned(
    tmp_path: Path, tags: dict[str, Any]
) -> None:
    write(slices(Plan().with_tags(**tags)), tmp_path)
    frames = tuple(frame.ref for frame in scan(tmp_path).frames)
    in_order = sorted(frames, key=lambda frame: frame.path)
    phase = Phase("1.2", "1.3", "1.4", tuple(in_order))
    bare = tuple(replace(frame, stamp=None) for frame in phase.frames)
    for given in (phase, replace(phase, frames=bare)):
        assert read_source(given).thickness_mm == pytest.approx(Plan().slice_mm)


@pytest.mark.parametrize("name", STYLES)
def test_a_file_that_was_written_again_is_parsed_again(
    tmp_path: Path, name: str
) -> None:
    style = STYLES[name]
    scanned = as_scanned(write_phase(tmp_path, style), tmp_path)
    before = seg_bytes(scanned, style)
    # A longer number, so that the sizes tell where clocks are coarse.
    fresh = write_phase(tmp_path, replace(style, slice_mm=3.0625))
    assert seg_bytes(scanned, style) == seg_bytes(fresh, style) != before


def test_another_instance_in_the_place_of_a_scanned_one_is_refused(
    tmp_path: Path,
) -> None:
    phase = as_scanned(write_phase(tmp_path), tmp_path)
    path = phase.frames[2].path
    path.write_bytes(phase.frames[1].path.read_bytes())
    os.utime(path, (0, 0))  # where the clock is coarse, too
    with pytest.raises(MaskError, match="another instance"):
        build(phase, some_masks(SourceStyle()))
