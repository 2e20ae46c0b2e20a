"""Which series can be a phase of a breast DCE acquisition, and why the others cannot.

A series speaks through its ImageType, its timing and its description; one clear sign
against it is enough, signs for it are weighed later (``plugin.reading.pairing``).
"""

import numpy as np
from highdicom.volume import VolumeGeometry

from plugin.reading.frames import Technique
from plugin.reading.grid import axes
from plugin.reading.phases import SeriesPart
from plugin.reading.words import other_kind
from plugin.rules import DceRules, matches

PLANES = ("sagittal", "coronal", "axial")
T2_ECHO_MS = 30.0
"""T1-weighted gradient and spin echoes are far shorter."""
WATER = {"W", "WATER", "IN_PHASE", "IP", "IN PHASE"}
TYPE_KINDS = {
    "subtraction": {"SUBTRACTION", "SUB", "SUBTRACT"},
    "projection": {"PROJECTION IMAGE", "MIP", "MNIP", "MAXIP", "MINIP", "VOLREN"},
    "localiser": {"LOCALIZER"},
    "reformatted": {"MPR", "REFORMATTED", "CPR", "CURVED MPR", "RESAMPLED"},
    "diffusion": {"ADC", "DIFFUSION", "TRACEW", "FA", "DWI"},
    "phase or complex image": {"P", "R", "I", "PHASE", "REAL", "IMAGINARY"},
    "fat or opposed-phase image": {"F", "FAT", "OP", "OUT_PHASE", "OPP_PHASE"},
    "map": {"T1 MAP", "T2 MAP", "PHASE MAP", "TTP", "PEI", "WASHIN", "WASHOUT"},
}
"""Kind of series -> what says so in ImageType from its third value on (C.8.3.1.1.1)."""


def unsuitable(part: SeriesPart, rules: DceRules) -> str:
    """Return why a part is no DCE phase, empty when nothing speaks against it."""
    description = part.series.description
    if matches(rules.exclude, description):
        return "excluded by site rule"
    plane = plane_name(part.plane.orientation)
    not_axial = "" if plane == "axial" else plane
    if matches(rules.pre, description) or matches(rules.post, description):
        return not_axial
    return (
        _type_kind(part.technique.image_type)
        or other_kind(description)
        or _timing_kind(part.technique)
        or not_axial
    )


def plane_name(orientation: tuple[float, ...]) -> str:
    """Return the body plane closest to the image plane."""
    return PLANES[int(np.argmax(np.abs(axes(orientation)[2])))]


def width_mm(grid: VolumeGeometry) -> float:
    """Return the extent of the field of view from patient right to left."""
    return float((np.abs(grid.affine[0, :3]) * grid.spatial_shape).max())


def tilt_deg(grid: VolumeGeometry) -> float:
    """Return the angle between the slice normal and the body axis."""
    return float(np.degrees(np.arccos(min(1.0, abs(grid.unit_vectors()[0][2])))))


def _type_kind(image_type: tuple[str, ...]) -> str:
    values = set(image_type[2:])
    for kind, tokens in TYPE_KINDS.items():
        if values & tokens:
            return kind
    if image_type[1:2] == ("SECONDARY",):
        return "secondary image"
    if image_type[:1] == ("DERIVED",) and not values & WATER:
        return "derived image"
    return ""


def _timing_kind(technique: Technique) -> str:
    if technique.diffusion:
        return "diffusion"
    if technique.echo_ms is not None and technique.echo_ms >= T2_ECHO_MS:
        return f"echo time of {technique.echo_ms:g} ms"
    if {"EP", "T2", "DIFFUSION", "FLUID_ATTENUATED", "STIR"} & {*technique.sequences}:
        return "no T1 sequence"
    return ""
