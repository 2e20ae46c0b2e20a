"""Sessions out to RAS NIfTI, and masks drawn there back as DICOM-SEG."""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from highdicom import Volume
from highdicom.seg import Segmentation

from model.preprocess import check_same_grid
from plugin import seg
from plugin.archive import Archive
from plugin.dce import DceRules
from plugin.errors import MaskError
from plugin.folder_archive import HUMAN_NIFTI, NIFTI_MASK
from plugin.masks import (
    NIFTI_UID_PREFIX,
    RECORD_FILE,
    has_trainable_mask,
    trainable_mask,
)
from plugin.nifti import read_nifti, write_nifti
from plugin.pipeline import Sides
from plugin.provenance import MaskRecord, MaskState
from plugin.session import OpenSession, find_pair, load_session

HUMAN_FILE = "human.dcm"


def export_session(
    archive: Archive, session_id: str, output: Path, work: Path, rules: DceRules
) -> list[Path]:
    """Write pre.nii.gz, post.nii.gz and, of an annotated session, mask.nii.gz."""
    session = load_session(session_id, find_pair(archive, session_id, work, rules))
    volumes = {"pre.nii.gz": session.pre, "post.nii.gz": session.post}
    if has_trainable_mask(archive, session_id, work):
        volumes[NIFTI_MASK] = trainable_mask(archive, session, work).volume
    archive.release(session_id, work)
    output.mkdir(parents=True, exist_ok=True)
    for name, volume in volumes.items():
        write_nifti(volume, output / name)
    return [output / name for name in volumes]


def import_mask(
    archive: Archive, session_id: str, path: Path, work: Path, rules: DceRules
) -> str:
    """Store a person's NIfTI mask in the session's resource; return its UID.

    A DICOM session gets it as DICOM-SEG, a NIfTI session as NIfTI with a record.

    Raises
    ------
    MaskError
        If the mask is empty. GeometryError if it lies on another grid.
    """
    session = load_session(session_id, find_pair(archive, session_id, work, rules))
    mask = read_nifti(path).match_geometry(session.pre)
    check_same_grid(session.pre, mask)
    if not mask.array.any():
        raise MaskError(
            path.name,
            found="a mask without foreground",
            needed="the breasts drawn",
            mend="export it again from the drawing program",
        )
    binary = mask.with_array((mask.array > 0).astype(np.uint8))
    uid = store_human_mask(archive, session, binary)
    archive.release(session_id, work)
    return uid


def store_human_mask(archive: Archive, session: OpenSession, mask: Volume) -> str:
    """Store a person's mask (0 or 1, source grid) with its session; return its UID."""
    if not session.pair.pre.frames:
        return _store_nifti(archive, session, mask)
    segmentation = human_seg(session, mask)
    archive.write(session.session_id, HUMAN_FILE, seg.to_bytes(segmentation))
    return str(segmentation.SOPInstanceUID)


def human_seg(session: OpenSession, mask: Volume) -> Segmentation:
    """Return a person's mask (0 or 1, source grid) as DICOM-SEG."""
    return seg.build(
        session.pair.pre,
        Sides.of(mask).source,
        algorithm=None,
        verdict="publish",
        state=MaskState.HUMAN,
    )


def _store_nifti(archive: Archive, session: OpenSession, mask: Volume) -> str:
    """Store the mask as NIfTI; the record of its bytes says that a person drew it."""
    with TemporaryDirectory() as folder:
        write_nifti(mask, Path(folder) / HUMAN_NIFTI)
        data = (Path(folder) / HUMAN_NIFTI).read_bytes()
    uid = NIFTI_UID_PREFIX + hashlib.sha256(data).hexdigest()
    record = MaskRecord(MaskState.HUMAN, uid, referenced_series_uid="")
    archive.write(session.session_id, HUMAN_NIFTI, data)
    archive.write(session.session_id, RECORD_FILE, record.to_json())
    return uid
