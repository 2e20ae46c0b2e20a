"""Training batches: step ``n`` of a seed is always the same slices."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from model.batches import Batch
from model.preprocess import network_input
from model.pretraining.annotator import BY_THE_RULE, Annotation, annotated
from model.pretraining.bank import Bank
from model.pretraining.look import draw_look
from model.pretraining.scanner import image, target
from model.pretraining.skin_folds import with_fold
from model.pretraining.view import draw_view

ANNOTATOR, FOLDS = 1, 2
"""Streams of random numbers, so that nothing else depends on targets and skin folds."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of what the training slices hold, and of cropped batches."""

    suppressed: float = 0.5
    anything: float = 0.25
    cropped: float = 0.0
    """Share of batches without their posterior third, which is a third cheaper."""
    skin_folds: float = 0.0
    """Share of slices with a skin fold, where they have a place for one."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the budget with one grid and batch size."""

    until: float
    """Share of the budget at which the stage ends."""
    grid_px: int
    batch: int
    others_px: tuple[int, ...] = ()
    """Grids that take turns with ``grid_px`` from step to step."""
    echo: int = 1
    """How often a drawn slice is used; a step draws ``batch / echo`` new ones."""

    @property
    def grids_px(self) -> tuple[int, ...]:
        """Return the grids that take turns."""
        return self.grid_px, *self.others_px

    def grid_at(self, step: int) -> int:
        """Return the grid of a step."""
        return self.grids_px[step % len(self.grids_px)]


@dataclass(frozen=True, slots=True)
class Batches(Dataset[Batch]):
    """What step ``n`` draws: slices (N, 2, grid, grid), masks (N, 1, grid, grid)."""

    bank: Bank
    mix: Mix
    seed: int
    stage: Stage
    annotation: Annotation = BY_THE_RULE

    def __getitem__(self, step: int) -> Batch:
        """Draw the new slices of one step."""
        count = self.stage.batch // self.stage.echo
        pairs = [self.draw(step, place) for place in range(count)]
        slices = torch.from_numpy(np.stack([s for s, _ in pairs]))
        masks = torch.from_numpy(np.stack([m for _, m in pairs])[:, None])
        return slices, masks.float()

    def crop(self, step: int, batch: Batch) -> Batch:
        """Return a step's batch, in a share of steps without its posterior third.

        The rows left are a multiple of 8.
        """
        chance = np.random.default_rng([self.seed, step]).random()
        if chance >= self.mix.cropped:
            return batch
        rows = self.stage.grid_at(step) * 2 // 3 // 8 * 8
        slices, masks = batch
        return slices[:, :, :rows], masks[:, :, :rows]

    def draw(self, step: int, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw one slice as the network sees it, and its mask."""
        rng = np.random.default_rng([self.seed, step, place])
        volume = self.bank.patient(int(rng.integers(self.bank.plan.patients)))
        look = draw_look(
            rng, suppressed=self.mix.suppressed, anything=self.mix.anything
        )
        view = draw_view(volume, self.stage.grid_at(step), rng)
        folds, annotator = (
            np.random.default_rng([self.seed, step, place, stream])
            for stream in (FOLDS, ANNOTATOR)
        )
        seen = with_fold(view, self.mix.skin_folds, folds)
        slices = network_input(image(seen, look, volume, rng))
        return slices, target(annotated(view, self.annotation, annotator))
