"""What the segments of a breast SEG say: codes written, and codes or labels read."""

import re
from dataclasses import dataclass
from enum import StrEnum

from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes

from plugin.errors import MaskError

BREAST_CODES = {
    ("SCT", "76752008"),
    ("SCT", "63762007"),  # both breasts
    ("SRT", "T-04000"),
}
RIGHT_BREAST_CODES = {("SCT", "73056007"), ("SRT", "T-04020")}
LEFT_BREAST_CODES = {("SCT", "80248007"), ("SRT", "T-04030")}
RIGHT_CODES = {("SCT", "24028007"), ("SRT", "G-A100")} | RIGHT_BREAST_CODES
LEFT_CODES = {("SCT", "7771000"), ("SRT", "G-A101")} | LEFT_BREAST_CODES
ANY_BREAST_CODES = BREAST_CODES | RIGHT_BREAST_CODES | LEFT_BREAST_CODES
GENERIC_CODES = {
    ("SCT", "85756007"),  # tissue, what viewers write when nobody chose a type
    ("SRT", "T-D0050"),
    ("SCT", "91723000"),  # anatomical structure
    ("SRT", "T-D000A"),
    ("SCT", "113343008"),  # organ
}
"""Types that say nothing: the label has to."""
OTHER_THINGS = re.compile(
    r"lesion|tumou?r|cancer|carcinoma|mass|implant|fgt|fibrogland|densit|nipple|skin"
    r"|muscle|node|lymph|vessel|background",
    re.IGNORECASE,
)
GENERIC_LABEL = re.compile(r"\s*(segment|label|segmentation)?[\s_-]*\d*\s*", re.I)
BREAST_LABEL = re.compile(r"breast|mamm[ae]", re.IGNORECASE)
RIGHT_WORDS, LEFT_WORDS = {"right", "rt", "r"}, {"left", "lt", "l"}

MODIFIERS = (
    "SegmentedPropertyTypeModifierCodeSequence",
    "AnatomicRegionModifierSequence",
    "PrimaryAnatomicStructureModifierSequence",
)
CONCEPTS = (
    "SegmentedPropertyTypeCodeSequence",
    "AnatomicRegionSequence",
    "PrimaryAnatomicStructureSequence",
)


class Side(StrEnum):
    """The patient's side that a segment covers."""

    RIGHT = "right"
    LEFT = "left"
    UNKNOWN = "unknown"


NUMBERS = {Side.RIGHT: 1, Side.LEFT: 2}
"""Segment numbers, always both."""
COLOURS = {
    Side.RIGHT: CIELabColor.from_rgb(255, 170, 60),
    Side.LEFT: CIELabColor.from_rgb(70, 190, 255),
}


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What made a mask: everything that decides its voxels besides the images."""

    name: str
    version: str
    weights_sha256: str | None
    """None for a rule without weights, such as the cold-start boundary."""
    configuration: str
    """Canonical text of the inference settings, engine and precision included."""


def describe(side: Side, algorithm: Algorithm | None) -> SegmentDescription:
    """Return the description of one breast; ``algorithm`` None means drawn by hand."""
    automatic = SegmentAlgorithmTypeValues.AUTOMATIC
    manual = SegmentAlgorithmTypeValues.MANUAL
    description = SegmentDescription(
        segment_number=NUMBERS[side],
        segment_label=f"{side.capitalize()} breast",
        segmented_property_category=codes.cid7150.AnatomicalStructure,
        segmented_property_type=codes.SCT.Breast,
        algorithm_type=manual if algorithm is None else automatic,
        algorithm_identification=None if algorithm is None else _identify(algorithm),
        anatomic_regions=[codes.SCT.Breast],
        display_color=COLOURS[side],
    )
    _add_laterality(description, side)
    return description


def read_sides(segments: list[Dataset], subject: str) -> dict[int, Side]:
    """Return segment number -> side of the segments that are breasts.

    A segment is a breast by its type code, else by its label. When none is, segments
    that say nothing at all (a viewer's ``Segment 1``) are taken for breasts.

    Raises
    ------
    MaskError
        If no segment can be a breast.
    """
    breasts = [s for s in segments if _is_breast(s)]
    chosen = breasts or [s for s in segments if _says_nothing(s)]
    if chosen:
        return {int(s.SegmentNumber): _side(s) for s in chosen}
    found = ", ".join(sorted(f"{c[0]} {c[1]}" for s in segments for c in _type(s)))
    raise MaskError(
        subject,
        found=f"{len(segments)} segments, types {found or 'unknown'}",
        needed="a segment of the breast (SCT 76752008), or one labelled 'breast'",
        mend="label the breast segments 'right breast' and 'left breast'",
    )


def _identify(algorithm: Algorithm) -> AlgorithmIdentificationSequence:
    """Return the algorithm's identification, PS3.3 10.16."""
    learned = algorithm.weights_sha256 is not None
    family = codes.cid7162
    return AlgorithmIdentificationSequence(
        name=algorithm.name,
        family=family.ArtificialIntelligence
        if learned
        else family.MorphologicalOperations,
        version=algorithm.version,
        parameters={
            "weights_sha256": algorithm.weights_sha256 or "none",
            "configuration": algorithm.configuration,
        },
    )


def _add_laterality(description: SegmentDescription, side: Side) -> None:
    code = codes.SCT.Right if side is Side.RIGHT else codes.SCT.Left
    property_type = description.SegmentedPropertyTypeCodeSequence[0]
    property_type.SegmentedPropertyTypeModifierCodeSequence = [
        CodedConcept.from_code(code)
    ]
    region = description.AnatomicRegionSequence[0]
    region.AnatomicRegionModifierSequence = [CodedConcept.from_code(code)]


def _is_breast(segment: Dataset) -> bool:
    label, types = str(segment.get("SegmentLabel", "")), _type(segment)
    if OTHER_THINGS.search(label):
        return False
    if types & ANY_BREAST_CODES:
        return True
    return types <= GENERIC_CODES and bool(BREAST_LABEL.search(label))


def _says_nothing(segment: Dataset) -> bool:
    label = str(segment.get("SegmentLabel", ""))
    return _type(segment) <= GENERIC_CODES and bool(GENERIC_LABEL.fullmatch(label))


def _side(segment: Dataset) -> Side:
    found = _codes(segment)
    words = set(re.findall(r"[a-z]+", str(segment.get("SegmentLabel", "")).lower()))
    right = bool(found & RIGHT_CODES) or bool(words & RIGHT_WORDS)
    left = bool(found & LEFT_CODES) or bool(words & LEFT_WORDS)
    if right == left:
        return Side.UNKNOWN
    return Side.RIGHT if right else Side.LEFT


def _type(segment: Dataset) -> set[tuple[str, str]]:
    return {_code(i) for i in segment.get("SegmentedPropertyTypeCodeSequence") or []}


def _codes(segment: Dataset) -> set[tuple[str, str]]:
    """Return every code of a segment's type and region, modifiers included."""
    concepts = [item for name in CONCEPTS for item in segment.get(name) or []]
    modifiers = [m for c in concepts for name in MODIFIERS for m in c.get(name) or []]
    return {_code(item) for item in concepts + modifiers}


def _code(item: Dataset) -> tuple[str, str]:
    return str(item.get("CodingSchemeDesignator")), str(item.get("CodeValue"))
