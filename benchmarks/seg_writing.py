"""How long writing a mask as DICOM-SEG takes, against highdicom alone and dcmqi.

    python -m benchmarks.seg_writing

dcmqi is compared where its program `itkimage2segimage` is found: `pip install dcmqi`
into an environment of its own, and its `bin` in PATH. It is a process of its own and
reads the series' pixels.
"""

import json
import shutil
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pydicom
from highdicom.seg import Segmentation, SegmentationTypeValues
from pydicom.uid import generate_uid

from benchmarks.measure import Limit, Way, compare, publish, timed
from benchmarks.options import count_option, out_option, repeats_option
from benchmarks.study import write_study
from model.atomic import write_atomically
from plugin import seg
from plugin.dce import choose
from plugin.nifti import write_nifti
from plugin.provenance import MaskState
from plugin.rules import DceRules
from plugin.segments import NUMBERS, Algorithm, describe
from plugin.series import Phase
from plugin.session import OpenSession, load_session

PROGRAM = "itkimage2segimage"
ALGORITHM = Algorithm("brs", "1", "0" * 64, "a benchmark")
BREAST = {
    "CodeValue": "76752008",
    "CodingSchemeDesignator": "SCT",
    "CodeMeaning": "Breast",
}
STRUCTURE = {
    "CodeValue": "91723000",
    "CodingSchemeDesignator": "SCT",
    "CodeMeaning": "Anatomical structure",
}


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A mask of a session's first series, to be written into ``folder``."""

    session: OpenSession
    masks: seg.Masks
    folder: Path

    @property
    def phase(self) -> Phase:
        """The series that the mask is of."""
        return self.session.pair.pre

    @classmethod
    def of(cls, study: Path, folder: Path) -> "Task":
        """Return the bright voxels of either half of a study as its mask."""
        session = load_session("bench", choose(study, DceRules()))
        bright = session.pre.array > np.median(session.pre.array)
        half = np.arange(bright.shape[2]) < bright.shape[2] // 2
        return cls(session, (bright & half, bright & ~half), folder)


def plain(task: Task) -> None:
    """Write it as highdicom's own guide does: the series' datasets, one call, save."""
    right, left = task.masks
    series = [pydicom.dcmread(frame.path) for frame in task.phase.frames]
    Segmentation(
        source_images=series,
        pixel_array=right.astype(np.uint8) + 2 * left.astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[describe(side, ALGORITHM) for side in NUMBERS],
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="a",
        manufacturer_model_name="b",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=False,
    ).save_as(task.folder / "plain.dcm")


def ours(task: Task) -> None:
    """Write it as the pipeline does, flushed to the disk."""
    segmentation = seg.build(
        task.phase,
        task.masks,
        algorithm=ALGORITHM,
        verdict="publish",
        state=MaskState.MODEL_DRAFT,
    )
    seg.write(segmentation, task.folder / "ours.dcm")


def dcmqi(task: Task) -> Way | None:
    """Return dcmqi on the same mask as NIfTI, None where it is not installed."""
    program = shutil.which(PROGRAM)
    if program is None:
        return None
    right, left = task.masks
    labels = right.astype(np.uint8) + 2 * left.astype(np.uint8)
    write_nifti(task.session.pre.with_array(labels), task.folder / "mask.nii.gz")
    said = task.folder / "said.json"
    said.write_text(json.dumps(_described()))
    files = ",".join(str(frame.path) for frame in task.phase.frames)
    words = [
        *(program, "--skip", "0", "--inputDICOMList", files),
        *("--inputImageList", str(task.folder / "mask.nii.gz")),
        *("--inputMetadata", str(said)),
        *("--outputDICOM", str(task.folder / "dcmqi.dcm")),
    ]
    run = partial(subprocess.run, words, check=True, capture_output=True)
    return Way(f"dcmqi {_version(program)}, a process", run, lambda: None)


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    return said.partition("tag: v")[2].split()[0] if "tag: v" in said else "unknown"


def _described() -> dict[str, object]:
    """Return what dcmqi wants to be told of two segments."""
    segments = [
        {
            "labelID": NUMBERS[side],
            "SegmentLabel": side,
            "SegmentDescription": side,
            "SegmentAlgorithmType": "AUTOMATIC",
            "SegmentAlgorithmName": "brs",
            "SegmentedPropertyCategoryCodeSequence": STRUCTURE,
            "SegmentedPropertyTypeCodeSequence": BREAST,
        }
        for side in NUMBERS
    ]
    return {"segmentAttributes": [segments], "ContentCreatorName": "BRS"}


@click.command()
@count_option("--slices", 160, "Slices of the series.")
@count_option("--matrix", 512, "Rows and columns.")
@repeats_option(5)
@out_option
def main(slices: int, matrix: int, repeats: int, out: Path) -> None:
    """Time the writing of a mask of two segments."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        study = write_study(folder / "study", slices=slices, matrix_px=matrix)
        task = Task.of(study, folder)
        peer = dcmqi(task)
        ours(task)
        data = (folder / "ours.dcm").read_bytes()
        limit_s = min(
            timed(lambda: write_atomically(folder / "bytes", data)) for _ in range(3)
        )
        result = compare(
            "a mask to DICOM-SEG",
            [
                Way("highdicom alone", lambda: plain(task)),
                *([peer] if peer else []),
                Way("brs", lambda: ours(task)),
            ],
            repeats=repeats,
            work=f"2 segments of {slices} x {matrix} x {matrix} px, empty frames kept",
            limit=Limit("writing and flushing its bytes", limit_s),
            notes=() if peer else ("dcmqi is not installed here",),
        )
    publish(result, out, "seg-writing")


if __name__ == "__main__":
    main()
