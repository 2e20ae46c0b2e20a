"""Does an engine find the mask that plain fp32 PyTorch finds? Asked before it is used.

The question is put on synthetic slices that no network was trained on. An engine that
rounds (bf16, int8) or reorders sums is trusted with a network only after this.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from model.inference import THRESHOLD, Runner
from model.metrics import overlap
from model.phantom import VERSION, draw_patient, draw_site, make_case
from model.preprocess import SliceStack, network_input, to_stack

NEEDED_DICE = 0.995
SEED = 2_147_483_647
"""Of a synthetic patient kept apart: no cohort of ours counts up to here."""
SLICES, MATRIX_PX, STEP = 24, 128, 3
"""Every third of so many slices is asked: 8 of them, from the feet to the head."""
SMALLEST_SHARE = 0.01
"""Of the pixels; a mask smaller than this says too little about an engine."""
QUESTION = f"phantom-{VERSION}-{SEED}-{SLICES}-{MATRIX_PX}-{STEP}"
"""What was asked: another question makes earlier answers void."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How far an engine's masks agree with fp32 PyTorch's."""

    dice: float
    worst_difference: float
    """Largest difference of a pixel's probability."""
    slices: int

    @property
    def is_enough(self) -> bool:
        """Whether the engine may be used with these weights."""
        return self.dice >= NEEDED_DICE


def held_out_slices(grid_px: int) -> NDArray[np.float32]:
    """Return voxels (slices, 2, rows, columns) of some slices of the held-out stack."""
    return held_out_stack(grid_px).voxels[::STEP]


def some_slices(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return as many slices of a stack as of the held-out one, evenly from it."""
    return voxels[:: max(1, STEP * len(voxels) // SLICES)]


def held_out_stack(grid_px: int) -> SliceStack:
    """Return the stack of the synthetic patient that is kept apart."""
    return synthetic_stack(SEED, grid_px)


def synthetic_stack(seed: int, grid_px: int) -> SliceStack:
    """Return the stack of one synthetic patient."""
    rng = np.random.default_rng(seed)
    patient = draw_patient(rng)
    site = draw_site(rng, slices=SLICES, matrix_px=MATRIX_PX)
    case = make_case(patient, site, seed=seed)
    return to_stack(*case.phases[:2], grid_px=grid_px)


def compare(
    candidate: Runner, reference: Runner, voxels: NDArray[np.floating]
) -> Fidelity:
    """Return how far two runners of one network agree on a stack's slices."""
    return agreement(_probability(candidate, voxels), _probability(reference, voxels))


def agreement(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Fidelity:
    """Return how far probabilities agree with those of a reference, ``theirs``.

    Where the reference finds almost no breast, the masks are cut at a lower
    probability: two empty masks agree about nothing.
    """
    cut = min(THRESHOLD, float(np.quantile(theirs, 1 - SMALLEST_SHARE)))
    return Fidelity(
        dice=overlap(ours >= cut, theirs >= cut).dice,
        worst_difference=float(np.abs(ours - theirs).max()),
        slices=len(ours),
    )


def _probability(runner: Runner, voxels: NDArray[np.floating]) -> NDArray[np.float32]:
    inputs = network_input(voxels)
    found = [runner.logits(inputs[i : i + 1]) for i in range(len(inputs))]
    logits = np.concatenate(found)
    probability: NDArray[np.float32] = expit(logits, out=logits)
    return probability
