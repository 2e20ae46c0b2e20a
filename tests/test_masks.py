"""Which mask a network may learn from, and what a review changes."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from sessions import (
    annotate,
    archive_with,
    box_mask,
    delivery,
    opened,
    untrained_segmenter,
)

from plugin.errors import MaskError
from plugin.exchange import HUMAN_FILE, export_session, import_mask
from plugin.folder_archive import FolderArchive
from plugin.masks import has_trainable_mask, review_draft, trainable_mask
from plugin.nifti import write_nifti
from plugin.provenance import MaskState
from plugin.rules import DceRules
from plugin.segment import segment_archive

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def archive(tmp_path: Path) -> FolderArchive:
    return archive_with(tmp_path / "archive", "a")


@pytest.fixture(scope="module")
def drafted(tmp_path_factory: pytest.TempPathFactory) -> FolderArchive:
    """Return an archive whose session holds a draft of an untrained network."""
    root = tmp_path_factory.mktemp("drafted")
    archive = archive_with(root / "archive", "a")
    items = segment_archive(archive, untrained_segmenter(), delivery(root / "out"))
    assert items[0].verdict == "review", items
    return archive


def test_a_human_mask_returns_voxel_for_voxel(
    archive: FolderArchive, tmp_path: Path
) -> None:
    annotate(archive, "a")
    session = opened(archive, "a")
    mask = trainable_mask(archive, session, tmp_path)
    assert mask.state is MaskState.HUMAN
    assert np.array_equal(mask.volume.array, box_mask(session).array)


@pytest.mark.parametrize("newer", ["a lesion", "another series"])
def test_newer_masks_of_other_things_do_not_hide_the_breasts(
    archive: FolderArchive, tmp_path: Path, newer: str
) -> None:
    annotate(archive, "a")
    session = opened(archive, "a")
    seg = pydicom.dcmread(archive.root / "a" / "BRS" / HUMAN_FILE)
    seg.SOPInstanceUID = "1.2.3.4"
    seg.InstanceCreationDate = "20991231"
    if newer == "a lesion":
        for segment in seg.SegmentSequence:
            segment.SegmentLabel = "lesion"
    else:
        seg.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"
    seg.save_as(archive.root / "a" / "other.dcm")
    found = trainable_mask(archive, session, tmp_path)
    assert np.array_equal(found.volume.array, box_mask(session).array)


def test_a_session_without_a_mask_is_told_how_to_get_one(
    archive: FolderArchive, tmp_path: Path
) -> None:
    assert not has_trainable_mask(archive, "a", tmp_path)
    with pytest.raises(MaskError, match="session a: found no mask"):
        trainable_mask(archive, opened(archive, "a"), tmp_path)


def test_a_draft_is_never_learnt_until_a_role_accepts_it(
    drafted: FolderArchive, tmp_path: Path
) -> None:
    session = opened(drafted, "a")
    with pytest.raises(MaskError, match="a mask in state model-draft"):
        trainable_mask(drafted, session, tmp_path)
    review_draft(drafted, "a", accept=False, role="annotator", now=NOON)
    with pytest.raises(MaskError, match="a mask in state rejected"):
        trainable_mask(drafted, session, tmp_path)
    record = review_draft(drafted, "a", accept=True, role="radiologist", now=NOON)
    assert (record.reviewer_role, record.reviewed_at) == (
        "radiologist",
        "2026-01-31T12:00:00+00:00",
    )
    approved = trainable_mask(drafted, session, tmp_path)
    assert approved.state is MaskState.MODEL_APPROVED
    annotate(drafted, "a")
    assert trainable_mask(drafted, session, tmp_path).state is MaskState.HUMAN


def test_there_is_nothing_to_review_without_a_draft(archive: FolderArchive) -> None:
    with pytest.raises(MaskError, match="no draft mask"):
        review_draft(archive, "a", accept=True, role="radiologist", now=NOON)


def test_a_mask_survives_export_drawing_and_import(
    archive: FolderArchive, tmp_path: Path
) -> None:
    annotate(archive, "a")
    files = export_session(archive, "a", tmp_path / "out", tmp_path / "w", DceRules())
    assert [path.name for path in files] == ["pre.nii.gz", "post.nii.gz", "mask.nii.gz"]
    other = archive_with(tmp_path / "other", "a")
    import_mask(
        other, "a", tmp_path / "out" / "mask.nii.gz", tmp_path / "w", DceRules()
    )
    session = opened(other, "a")
    found = trainable_mask(other, session, tmp_path)
    assert np.array_equal(found.volume.array, box_mask(session).array)


def test_an_empty_mask_is_not_imported(archive: FolderArchive, tmp_path: Path) -> None:
    session = opened(archive, "a")
    empty = session.pre.with_array(np.zeros(session.pre.spatial_shape, np.uint8))
    write_nifti(empty, tmp_path / "empty.nii.gz")
    with pytest.raises(MaskError, match=r"empty\.nii\.gz: found a mask without"):
        import_mask(archive, "a", tmp_path / "empty.nii.gz", tmp_path / "w", DceRules())


def test_a_nifti_session_learns_only_from_a_recorded_mask(
    archive: FolderArchive, tmp_path: Path
) -> None:
    annotate(archive, "a")
    nifti = tmp_path / "nifti"
    export_session(archive, "a", nifti / "b", tmp_path / "w", DceRules())
    other = FolderArchive(nifti)
    session = opened(other, "b")
    with pytest.raises(MaskError, match="a mask without a state"):
        trainable_mask(other, session, tmp_path)
    import_mask(other, "b", nifti / "b" / "mask.nii.gz", tmp_path / "w", DceRules())
    found = trainable_mask(other, session, tmp_path)
    assert (found.state, found.volume.array.sum()) == (
        MaskState.HUMAN,
        box_mask(session).array.sum(),
    )
