"""Write a synthetic examination as the DICOM files a scanner would send.

One pre- and five post-contrast phases in the way of one vendor, plus the series that
lie beside them in every real session: a localiser in three planes and a T2 series.
"""

import hashlib
from enum import StrEnum
from pathlib import Path

from highdicom import Volume
from pydicom.dataset import Dataset

from model.phantom import PhantomCase
from plugin.synthetic.distractors import write_localiser, write_t2
from plugin.synthetic.headers import (
    PHASE_LENGTH_S,
    Make,
    SeriesPlan,
    Visit,
    clock,
    decimal,
    image_header,
    save_slice,
    window,
)
from plugin.synthetic.multiframe import write_multiframe


class VendorStyle(StrEnum):
    """How a vendor tells the phases of a dynamic series apart."""

    SEPARATE_SERIES = "separate-series"
    """One series per phase."""
    TEMPORAL_POSITION = "temporal-position"
    """One series, TemporalPositionIdentifier; slice by slice, head first."""
    TRIGGER_TIME = "trigger-time"
    """One series, TriggerTime; images rotated by 180 degrees, files named by hash."""
    ENHANCED = "enhanced"
    """One multi-frame instance with all phases."""
    ENHANCED_PER_PHASE = "enhanced-per-phase"
    """One multi-frame instance and series per phase."""


SIEMENS = Make(
    manufacturer="SIEMENS (synthetic)",
    scanner="Avanto",
    pre="t1_fl3d_tra_pre",
    post="t1_fl3d_tra_post_{}",
    dynamic="t1_fl3d_tra_dyn",
    localiser="localizer",
    t2="t2_tirm_tra",
)
PHILIPS = Make(
    manufacturer="Philips (synthetic)",
    scanner="Achieva",
    pre="THRIVE pre",
    post="THRIVE post {}",
    dynamic="dyn eTHRIVE",
    localiser="Survey",
    t2="T2W_TSE_ax",
)
GE = Make(
    manufacturer="GE (synthetic)",
    scanner="Signa HDxt",
    pre="Ax VIBRANT pre",
    post="Ax VIBRANT Ph{}",
    dynamic="Ax VIBRANT MPh",
    localiser="3-pl loc",
    t2="Ax T2 FSE",
)
MAKES = {
    VendorStyle.SEPARATE_SERIES: SIEMENS,
    VendorStyle.TEMPORAL_POSITION: PHILIPS,
    VendorStyle.TRIGGER_TIME: GE,
    VendorStyle.ENHANCED: PHILIPS,
    VendorStyle.ENHANCED_PER_PHASE: SIEMENS,
}
FIRST_SERIES = 5
"""Number of the first dynamic series; localiser and T2 come before."""
ROTATED = "HAR"
"""Canonical order turned by 180 degrees in plane: rows anterior, columns right."""


def write_session(
    case: PhantomCase,
    folder: Path,
    *,
    style: VendorStyle,
    session_id: str,
    distractors: bool = True,
) -> None:
    """Write ``case`` below ``folder``; the same arguments give the same bytes."""
    visit = Visit(case, session_id, str(style), MAKES[style])
    if distractors:
        write_localiser(visit, _series_folder(folder, 1), number=1)
        write_t2(visit, _series_folder(folder, 2), number=2)
    match style:
        case VendorStyle.SEPARATE_SERIES:
            _write_separate(visit, folder)
        case VendorStyle.TEMPORAL_POSITION:
            _write_temporal(visit, _series_folder(folder, FIRST_SERIES))
        case VendorStyle.TRIGGER_TIME:
            _write_triggered(visit, folder)
        case VendorStyle.ENHANCED:
            path = _series_folder(folder, FIRST_SERIES) / "IM000001.dcm"
            write_multiframe(visit, path, _dynamic_plan(visit), range(6))
        case VendorStyle.ENHANCED_PER_PHASE:
            for phase, plan in enumerate(_phase_plans(visit)):
                path = _series_folder(folder, plan.number) / "IM000001.dcm"
                write_multiframe(visit, path, plan, range(phase, phase + 1))


def _write_separate(visit: Visit, folder: Path) -> None:
    for phase, plan in enumerate(_phase_plans(visit)):
        header = image_header(visit, plan)
        header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]
        header.AcquisitionNumber = 1
        header.AcquisitionTime = clock(visit.phase_s(phase))
        header.ContentTime = clock(visit.phase_s(phase) + PHASE_LENGTH_S)
        volume = visit.case.phases[phase]
        header.WindowCenter, header.WindowWidth = window(volume.array)
        target = _series_folder(folder, plan.number)
        for k in range(len(volume.array)):
            header.SOPInstanceUID = visit.uid("instance", plan.number, k)
            header.InstanceNumber = k + 1
            save_slice(header, volume[k : k + 1], target / f"IM{k + 1:06d}.dcm")


def _write_temporal(visit: Visit, folder: Path) -> None:
    """Write one series; instances run slice by slice, head first, phases in turn."""
    plan, phases = _dynamic_plan(visit), visit.case.phases
    header = image_header(visit, plan)
    header.ImageType = ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
    header.NumberOfTemporalPositions = len(phases)
    slices = len(phases[0].array)
    for phase, volume in enumerate(phases):
        header.TemporalPositionIdentifier = phase + 1
        header.AcquisitionNumber = phase + 1
        header.AcquisitionTime = clock(visit.phase_s(phase))
        header.ContentTime = clock(visit.phase_s(phase))
        header.WindowCenter, header.WindowWidth = window(volume.array)
        for k in range(slices):
            number = (slices - 1 - k) * len(phases) + phase + 1
            header.SOPInstanceUID = visit.uid("instance", plan.number, number)
            header.InstanceNumber = number
            save_slice(header, volume[k : k + 1], folder / f"IM{number:06d}.dcm")


def _write_triggered(visit: Visit, folder: Path) -> None:
    """Write one series whose phases only TriggerTime and ContentTime tell apart."""
    plan, phases = _dynamic_plan(visit), visit.case.phases
    header = image_header(visit, plan)
    header.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    header.AcquisitionNumber = 1
    header.AcquisitionTime = clock(visit.phase_s(0))
    header.NumberOfTemporalPositions = len(phases)
    # PS3.3 C.8.3.1 allows TriggerTime only beside cardiac gating.
    header.ScanOptions = [o for o in (header.ScanOptions, "CG") if o]
    for phase, volume in enumerate(phases):
        elapsed_s = visit.phase_s(phase) - visit.phase_s(0)
        header.TriggerTime = decimal([elapsed_s * 1000])[0]
        header.ContentTime = clock(visit.phase_s(phase) + PHASE_LENGTH_S)
        header.WindowCenter, header.WindowWidth = window(volume.array)
        rotated: Volume = volume.to_patient_orientation(ROTATED)
        for k in range(len(volume.array)):
            number = phase * len(volume.array) + k + 1
            header.SOPInstanceUID = visit.uid("instance", plan.number, number)
            header.InstanceNumber = number
            save_slice(header, rotated[k : k + 1], folder / _hash_name(header))


def _phase_plans(visit: Visit) -> list[SeriesPlan]:
    """Return one plan per phase, pre-contrast first."""
    names = [visit.make.pre, *[visit.make.post.format(k) for k in range(1, 6)]]
    return [
        SeriesPlan(FIRST_SERIES + k, name, visit.phase_s(k), contrast=k > 0)
        for k, name in enumerate(names)
    ]


def _dynamic_plan(visit: Visit) -> SeriesPlan:
    """Return the plan of one series with all phases."""
    make = visit.make
    return SeriesPlan(FIRST_SERIES, make.dynamic, visit.phase_s(0), contrast=True)


def _series_folder(folder: Path, number: int) -> Path:
    return folder / f"SE{number:06d}"


def _hash_name(header: Dataset) -> str:
    return hashlib.sha256(header.SOPInstanceUID.encode()).hexdigest()[:16]
