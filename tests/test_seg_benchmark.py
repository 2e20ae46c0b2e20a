"""The benchmark of DICOM-SEG compares ways that write the same mask."""

from pathlib import Path

import numpy as np
from highdicom.seg import segread
from sessions import write_pair

from benchmarks.seg_writing import Task, dcmqi, ours, plain


def frames(path: Path) -> np.ndarray:
    """Return the mask of a file (segments, slices, rows, columns)."""
    read = segread(path)
    uids = [str(item[2]) for item in read.get_source_image_uids()]
    shown = read.get_pixels_by_source_instance(
        sorted(uids), ignore_spatial_locations=True
    )
    return np.moveaxis(shown, -1, 0)


def test_every_way_writes_the_same_mask(tmp_path: Path) -> None:
    write_pair(tmp_path / "study")
    task = Task.of(tmp_path / "study", tmp_path)
    plain(task)
    ours(task)
    expected = frames(tmp_path / "plain.dcm")
    assert expected.shape[0] == 2
    assert expected.any(axis=(1, 2, 3)).all()
    assert np.array_equal(frames(tmp_path / "ours.dcm"), expected)
    peer = dcmqi(task)
    if peer is not None:
        peer.run()
        assert np.array_equal(frames(tmp_path / "dcmqi.dcm"), expected)
