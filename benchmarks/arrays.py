"""What array work around the network costs, against the obvious way of each step.

python -m benchmarks.arrays --slices 160 --matrix 512
"""

import gzip
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from highdicom import Volume
from scipy.ndimage import distance_transform_edt
from scipy.spatial.distance import directed_hausdorff

from benchmarks.measure import Way, compare, copy_limit, publish
from benchmarks.options import count_option, out_option, repeats_option
from benchmarks.study import draw_study
from model.metrics import _surface, surface_distance
from model.preprocess import (
    BODY_FRACTION,
    BODY_PERCENTILE,
    ROBUST_MAX_PERCENTILE,
    Placement,
    _to_grid,
    place,
    to_stack,
)
from plugin.nifti import write_nifti


def dense_stack(pre: Volume, post: Volume, placement: Placement) -> None:
    """Scale with full weight matrices, and sort for the percentile."""
    for volume in (pre, post):
        rows, columns = (
            _to_grid(placement, length, mm, pad).toarray()
            for length, mm, pad in (
                (volume.shape[1], volume.pixel_spacing[0], placement.top_px),
                (volume.shape[2], volume.pixel_spacing[1], placement.left_px),
            )
        )
        for plane in volume.array:
            rows @ plane.astype(np.float32) @ columns.T
    limit = BODY_FRACTION * np.percentile(pre.array, BODY_PERCENTILE)
    np.percentile(pre.array[pre.array > limit], ROBUST_MAX_PERCENTILE)


def full_map(ours: np.ndarray, theirs: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Return the Hausdorff distance by a distance map of the whole volume."""
    one, other = _surface(ours), _surface(theirs)
    there = distance_transform_edt(~other, sampling=spacing)[one].max()
    back = distance_transform_edt(~one, sampling=spacing)[other].max()
    return float(max(there, back))


def by_points(
    ours: np.ndarray, theirs: np.ndarray, spacing: tuple[float, ...]
) -> float:
    """Return the Hausdorff distance by scipy's own function on the surfaces."""
    one, other = (np.argwhere(_surface(m)) * spacing for m in (ours, theirs))
    return max(directed_hausdorff(one, other)[0], directed_hausdorff(other, one)[0])


def zlib_nifti(volume: Volume) -> None:
    """Write with Python's zlib at its fastest level."""
    image = volume.permute_spatial_axes((2, 1, 0)).to_nibabel()
    with gzip.GzipFile("", "wb", 1, io.BytesIO()) as packed:
        image.to_stream(packed)


@click.command()
@count_option("--slices", 160, "Slices of a series.")
@count_option("--matrix", 512, "Rows and columns.")
@repeats_option(5)
@out_option
def main(slices: int, matrix: int, repeats: int, out: Path) -> None:
    """Time stack, distance and NIfTI of one study."""
    case = draw_study(slices=slices, matrix_px=matrix)
    pre, post = case.phases[:2]
    grid = place(pre.to_patient_orientation("HPL").get_geometry(), 256)
    stack = compare(
        "two volumes to the network's stack",
        [
            Way(
                "full matrices, sorted percentile", lambda: dense_stack(pre, post, grid)
            ),
            Way("brs", lambda: to_stack(pre, post, grid_px=256)),
        ],
        repeats=repeats,
        work=f"2 x {slices} slices of {matrix} px to 256 px",
        limit=copy_limit(pre.array.nbytes + post.array.nbytes),
    )
    publish(stack, out, "stack")
    mask = case.right | case.left
    moved = np.roll(mask, (1, 2, -2), axis=(0, 1, 2))
    spacing = (2.0, 0.9, 0.9)
    found = surface_distance(mask, moved, spacing_mm=spacing).hausdorff_mm or 0.0
    agreed = full_map(mask, moved, spacing), by_points(mask, moved, spacing)
    if not np.allclose(agreed, found):
        raise click.ClickException(f"not one distance: {found} and {agreed}")
    distance = compare(
        "Hausdorff distance of two masks in 3-D",
        [
            Way("scipy distance map", lambda: full_map(mask, moved, spacing)),
            Way("scipy directed_hausdorff", lambda: by_points(mask, moved, spacing)),
            Way("brs", lambda: surface_distance(mask, moved, spacing_mm=spacing)),
        ],
        repeats=repeats,
        work=f"masks of {mask.shape}, {mask.sum()} voxels, all agree on {found:.3f} mm",
    )
    publish(distance, out, "hausdorff")
    with TemporaryDirectory() as place_:
        path = Path(place_) / "image.nii.gz"
        nifti = compare(
            "a volume to .nii.gz",
            [
                Way("zlib level 1", lambda: zlib_nifti(pre)),
                Way("brs (ISA-L)", lambda: write_nifti(pre, path)),
            ],
            repeats=repeats,
            work=f"{pre.array.nbytes / 1e6:.0f} MB of uint16",
            limit=copy_limit(pre.array.nbytes),
        )
        publish(nifti, out, "nifti")


if __name__ == "__main__":
    main()
