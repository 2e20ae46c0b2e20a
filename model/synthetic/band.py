"""The rule of the masks: which tissue in front of the chest wall is breast region.

People mark a band: skin, fat and gland in front of the pectoral muscle and the chest
wall, from one axilla to the other, pre-sternal tissue included, on every slice between
the lower and the upper end of the breasts. Backwards the band ends at a flat cut at
the height of the axillary folds. At its ends it thins out towards the skin within
``END_MM``, so that its area runs to zero without staying thin for half the breast. What
hangs below is breast as far as it hangs. The side of a mastectomy has none.
"""

import numpy as np

from model.synthetic.lattice import Field
from model.synthetic.patient import Patient, Side

END_MM = 14.0
"""Length of each end over which the band thins out."""
FOLD_SHARE = 0.86
"""Half width of the chest at which the axillary fold lies."""
LOBE = 1.08
"""How far around a hanging breast its region reaches, as a share of its radius."""


def ends_mm(patient: Patient) -> tuple[float, float]:
    """Return z of the band's lower and upper end: those of the longer side."""
    breasts = [patient.breast(side) for side in patient.sides()]
    lower = min(b.centre_z_mm - 1.05 * b.half_height_mm - 5 for b in breasts)
    upper = max(b.centre_z_mm + 1.16 * b.half_height_mm + 8 for b in breasts)
    return lower, upper


def build_bands(
    patient: Patient,
    z: Field,
    *,
    behind_fold: Field,
    muscle: Field,
    fat_mm: Field,
    radius: dict[Side, Field],
) -> dict[Side, Field]:
    """Return the surface of each side's region, negative inside.

    ``z`` is the height in the undeformed patient and ``behind_fold`` the distance
    behind the axillary folds, mm.
    """
    lower, upper = ends_mm(patient)
    room = np.minimum(z - np.float32(lower), np.float32(upper) - z)
    bands = {}
    for side in patient.sides():
        width = np.float32(patient.breast(side).half_width_mm)
        here = np.maximum(room, (np.float32(LOBE) - radius[side]) * width)
        lift_mm = fat_mm * (1 - np.clip(here / np.float32(END_MM), 0, 1))
        surface = np.maximum(np.maximum(-here, lift_mm - muscle), behind_fold)
        bands[side] = np.asarray(surface, np.float32)
    return bands
