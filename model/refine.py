"""What may be done to a network's probabilities after it has seen each slice alone.

Each step is a pure function of probabilities (slices, rows, columns) in canonical
order. Which ones are used is part of the inference configuration, and so of a mask's
identity; ``benchmarks/test_time.py`` measures what each of them is worth.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.inference import THRESHOLD, Progress, unfollowed
from model.metrics import overlap
from model.preprocess import SliceStack
from model.scope import EVERYTHING, Window, cut, placed

FLIP_STEP = 4
"""Every so many slices are looked at in the mirror: a quarter of the cost."""
ISLAND_SHARE = 0.1
"""A piece below this share of the largest is no breast: a second breast, also a small
one beside a large one, has more."""

Probability = NDArray[np.float32]
Look = Callable[..., Probability]
"""Probabilities of voxels (slices, 2, rows, columns); ``progress`` as ``predict``'s."""


@dataclass(frozen=True, slots=True)
class Refinement:
    """The steps that are taken, in this order."""

    mirrored: bool = False
    """Average with the mirror image's probabilities: the network runs twice."""
    smooth_mm: float = 0.0
    """Standard deviation of a Gaussian along the body; 0 leaves slices alone."""
    islands: bool = False
    """Remove pieces that are much smaller than the largest."""
    holes: bool = False
    """Fill what a slice's mask encloses."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Refined probabilities, and how far the network contradicts itself."""

    probability: Probability
    flip_dice: float | None
    """Dice with the mask of the mirrored slices; None when it was not asked for."""


def predict_stack(
    stack: SliceStack,
    look: Look,
    steps: Refinement,
    *,
    flip_step: int = FLIP_STEP,
    window: Window = EVERYTHING,
    progress: Progress = unfollowed,
) -> Prediction:
    """Return the refined probabilities of a stack; 0 outside of the window.

    ``flip_step`` 0 leaves out the look into the mirror, unless a step needs it.
    """
    seen = cut(window, stack.voxels)
    found, flip_dice = look(seen, progress=progress), None
    if step := 1 if steps.mirrored else flip_step:
        mirrored = mirror_image(look, seen[::step])
        flip_dice = overlap(found[::step] >= THRESHOLD, mirrored >= THRESHOLD).dice
        if steps.mirrored:
            found = (found + mirrored) / np.float32(2)
    whole = placed(window, found, stack.voxels)
    return Prediction(refine(whole, stack.placement.slice_mm, steps), flip_dice)


def mirror_image(look: Look, voxels: NDArray[np.floating]) -> Probability:
    """Return what a network sees in the mirror image, turned back."""
    return look(np.ascontiguousarray(voxels[..., ::-1]))[..., ::-1]


def refine(probability: Probability, slice_mm: float, steps: Refinement) -> Probability:
    """Return the probabilities after all steps but mirroring, which needs a network."""
    if steps.smooth_mm:
        probability = smooth_along_body(probability, slice_mm, steps.smooth_mm)
    if steps.islands:
        probability = without_islands(probability)
    if steps.holes:
        probability = without_holes(probability)
    return probability


def smooth_along_body(
    probability: Probability, slice_mm: float, sigma_mm: float
) -> Probability:
    """Return each slice's probabilities averaged with its neighbours'."""
    smoothed: Probability = ndimage.gaussian_filter1d(
        probability, sigma_mm / slice_mm, axis=0, mode="nearest"
    )
    return smoothed


def without_islands(probability: Probability) -> Probability:
    """Return 0 in all pieces of the mask that are small beside the largest."""
    labels, count = ndimage.label(probability >= THRESHOLD)
    if count < 2:
        return probability
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    small = sizes < ISLAND_SHARE * sizes.max()
    small[0] = False
    return np.where(small[labels], np.float32(0), probability)


def without_holes(probability: Probability) -> Probability:
    """Return 1 where a slice's mask encloses what is not mask."""
    mask = probability >= THRESHOLD
    in_plane = ndimage.generate_binary_structure(2, 1)[None]
    filled = ndimage.binary_fill_holes(mask, in_plane)
    return np.where(filled & ~mask, np.float32(1), probability)
