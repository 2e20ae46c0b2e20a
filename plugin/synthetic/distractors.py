"""The series beside the dynamic one: a localiser in three planes, and a T2 series."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from highdicom import Volume

from plugin.synthetic.headers import (
    START_S,
    SeriesPlan,
    Visit,
    clock,
    image_header,
    save_slice,
    window,
)

LOCALISER_PLANES = ("HPL", "LPF", "PFL")
"""Axial, sagittal and coronal: slices, rows and columns run towards these."""
PLANES_EACH = 3
T2_STEP = 2


def write_localiser(visit: Visit, folder: Path, *, number: int) -> None:
    """Write three slices in each of three planes as one series."""
    plan = SeriesPlan(number, visit.make.localiser, START_S + 60, kind="localiser")
    header = image_header(visit, plan)
    header.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    header.AcquisitionNumber = 1
    header.AcquisitionTime = header.ContentTime = clock(plan.start_s)
    header.WindowCenter, header.WindowWidth = window(visit.case.phases[0].array)
    for index, plane in enumerate(_localiser_planes(visit.case.phases[0]), start=1):
        header.SOPInstanceUID = visit.uid("instance", number, index)
        header.InstanceNumber = index
        save_slice(header, plane, folder / f"IM{index:06d}.dcm")


def write_t2(visit: Visit, folder: Path, *, number: int) -> None:
    """Write a T2-weighted axial series with thicker slices: water bright, fat grey."""
    plan = SeriesPlan(number, visit.make.t2, START_S + 240, kind="t2")
    header = image_header(visit, plan)
    header.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    header.AcquisitionNumber = 1
    header.AcquisitionTime = header.ContentTime = clock(plan.start_s)
    volume = _t2_weighted(visit.case.phases[0])
    header.WindowCenter, header.WindowWidth = window(volume.array)
    for k in range(len(volume.array)):
        header.SOPInstanceUID = visit.uid("instance", number, k)
        header.InstanceNumber = k + 1
        save_slice(header, volume[k : k + 1], folder / f"IM{k + 1:06d}.dcm")


def _localiser_planes(volume: Volume) -> Iterator[Volume]:
    for orientation in LOCALISER_PLANES:
        turned = volume.to_patient_orientation(orientation)
        count = turned.spatial_shape[0]
        for share in np.linspace(0.3, 0.7, PLANES_EACH):
            k = int(share * count)
            yield turned[k : k + 1]


def _t2_weighted(volume: Volume) -> Volume:
    """Return every second slice with the contrast of body tissue turned over."""
    thick = volume[::T2_STEP]
    values = thick.array.astype(np.float32)
    top = max(float(np.percentile(values, 99.5)), 1.0)
    share = np.clip(values / top, 0, 1)
    turned = top * np.minimum(share * 6, 1) * (1.1 - share)
    return thick.with_array(turned.astype(np.uint16))
