"""Folds on a cluster: a worker fits one at a time, into the folder that all mount.

Cases, weights and results are files there; a task names them and carries none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from model.checkpoint import read_checkpoint
from model.dataset import CaseStore, Fold
from model.errors import BrsError
from model.hold import held
from plugin.cluster import Crew
from plugin.fold_fit import Elsewhere, Room, finished, fit_fold
from plugin.weights import check_same


def fitted_by(crew: Crew, start: Path | None) -> Elsewhere:
    """Return what fits folds on the workers, from the weights in ``start`` if any."""

    def fit_each(
        room: Room, folds: Sequence[Fold]
    ) -> Iterator[tuple[Fold, BrsError | None]]:
        options = room.options
        sha256 = options.start.manifest.weights_sha256 if options.start else ""
        backbone = Path(options.backbone_weights)
        if backbone.is_file():
            options = replace(options, backbone_weights=str(backbone.resolve()))
        there = Room(
            CaseStore(room.store.root.resolve()),
            room.gathered,
            room.output.resolve(),
            replace(options, start=None, elsewhere=None, alone=crew.alone()),
        )
        weights = (start.resolve(), sha256) if start else None
        gpu = options.engine.on_gpu
        return crew.map(partial(fit_at, there, weights), folds, label="folds", gpu=gpu)

    return fit_each


def fit_at(room: Room, weights: tuple[Path, str] | None, fold: Fold) -> None:
    """Fit a fold in a worker; wait for one that was given up for lost and is at it."""
    if weights is not None:
        path, sha256 = weights
        start = read_checkpoint(path)
        check_same(path, start.manifest.weights_sha256, sha256)
        room = replace(room, options=replace(room.options, start=start))
    with held(room.folder(fold) / "lock", wait=True):
        if finished(fold, room) is None:
            fit_fold(fold, room)
