"""What the DICOM reader hands on: frames in slice order, phases, and the DCE pair."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plugin.reading.frames import PlaneHeader
    from plugin.reading.layout import Stamp, Tail


@dataclass(frozen=True, slots=True)
class FrameRef:
    """One image plane: a single-frame instance, or one frame of a multi-frame one."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    frame_number: int | None = None
    """1-based frame number inside a multi-frame instance; None for single-frame."""
    is_packed: bool = field(default=False, compare=False, repr=False)
    """Its pixels are compressed."""
    stamp: "Stamp | None" = field(default=None, compare=False, repr=False)
    """Its file's when that was scanned: what follows is true while it is the same."""
    header: "PlaneHeader | None" = field(default=None, compare=False, repr=False)
    """What its header said of the plane; None where that is no plane."""
    tail: "Tail | None" = field(default=None, compare=False, repr=False)
    """Where its pixels were; None where that is not enough to read them."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One time point of an acquisition; ``frames[i]`` is slice ``i`` of its volume.

    Frames are ordered by rising position along the normal of the image plane
    (cross product of row and column direction cosines, PS3.3 C.7.6.2).
    A NIfTI phase has no frames and names its file in ``nifti``.
    """

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    frames: tuple[FrameRef, ...]
    description: str = ""
    time_s: float | None = None
    """Seconds from the first phase of the acquisition; None when unknown."""
    nifti: Path | None = None


@dataclass(frozen=True, slots=True)
class DcePair:
    """The pre-contrast and first post-contrast phases, and why these two."""

    pre: Phase
    post: Phase
    confidence: float
    """0 to 1; below 0.5 the result needs a person's eye."""
    reasons: tuple[str, ...]
    flags: tuple[str, ...]
    """Short words for QC, such as ``unilateral`` or ``order-by-series-number``."""
    ignored: dict[str, int]
    """Reason -> number of files that were not used."""
