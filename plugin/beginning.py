"""Weights that every training of a study begins with, in place of random ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model.checkpoint import Manifest, read_checkpoint, read_manifest
from plugin.weights import check_same

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Beginning:
    """A checkpoint at a place that every machine of a study reads."""

    path: Path
    manifest: Manifest

    def __call__(self, _seed: int) -> "nn.Module":
        """Return the checkpoint's network; the seed decides the training alone."""
        found = read_checkpoint(self.path)
        check_same(
            self.path, found.manifest.weights_sha256, self.manifest.weights_sha256
        )
        return found.network


def beginning_at(path: Path) -> Beginning:
    """Return the checkpoint of a file."""
    return Beginning(path.resolve(), read_manifest(path))
