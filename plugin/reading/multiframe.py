"""Frames of Enhanced and Legacy Converted Enhanced MR objects (PS3.3 A.36, A.70)."""

from collections.abc import Iterator
from pathlib import Path

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from plugin.reading.elements import items
from plugin.reading.frames import Frame, read_frame, read_plane_header, read_series
from plugin.reading.instance import Instance, frame_count
from plugin.reading.layout import Stamp
from plugin.series import FrameRef

Element = DataElement | RawDataElement

FUNCTIONAL_GROUPS = (
    "PixelMeasuresSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
    "FrameContentSequence",
    "FrameAnatomySequence",
    "MRImageFrameTypeSequence",
    "MREchoSequence",
    "MRTimingAndRelatedParametersSequence",
    "MRModifierSequence",
    "MRDiffusionSequence",
    "TemporalPositionSequence",
    "CardiacSynchronizationSequence",
    "ContrastBolusUsageSequence",
    "PixelValueTransformationSequence",
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
"""The groups whose attributes a reader of T1 series needs."""


def read_frames(instance: Instance, path: Path, stamp: Stamp) -> tuple[Frame, ...]:
    """Return the frames of a multi-frame instance in stored order, none if damaged."""
    dataset, frames = instance.dataset, []
    series = read_series(dataset)
    for number, flat in enumerate(flat_frames(dataset), start=1):
        ref = FrameRef(
            path=path,
            sop_instance_uid=str(dataset.get("SOPInstanceUID", "")),
            sop_class_uid=str(dataset.get("SOPClassUID", "")),
            frame_number=number,
            is_packed=instance.is_packed,
            stamp=stamp,
            header=read_plane_header(flat),
        )
        frames.append(read_frame(flat, ref, series, instance.transfer_syntax))
    return tuple(frames) if len(frames) == frame_count(dataset) else ()


def flat_frames(dataset: Dataset) -> Iterator[Dataset]:
    """Yield one flat dataset per frame: what single-frame objects say at top level.

    A frame's own functional groups win over the shared ones, and these over the top
    level of the object.
    """
    common = dict(dataset.items())
    for shared in items(dataset, "SharedFunctionalGroupsSequence"):
        common |= _attributes(shared)
    for own in items(dataset, "PerFrameFunctionalGroupsSequence"):
        yield Dataset(common | _attributes(own))


def _attributes(groups: Dataset) -> dict[BaseTag, Element]:
    """Return what the functional groups of one item say, without their nesting."""
    found: dict[BaseTag, Element] = {}
    for keyword in FUNCTIONAL_GROUPS:
        for item in items(groups, keyword):
            found |= dict(item.items())
    return found
