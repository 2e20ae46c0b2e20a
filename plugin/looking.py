"""What networks make of a session: evidence for the strategies that ask them.

Where a project's checkpoint is one of its folds, all folds of that training are asked;
any other checkpoint is asked alone. Each also sees the mirrored image.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from model.atomic import write_atomically
from model.ensemble import Look, combined, look
from model.preprocess import to_stack
from model.ranking import Evidence
from plugin.archive import Archive
from plugin.engines import Choice, Wish, open_checkpoint
from plugin.fold_store import MOST_FOLDS
from plugin.measuring import step_of, thinned
from plugin.proofs import Proofs
from plugin.session import OpenSession
from plugin.version import VERSION

TRAINING_KEYS = ("config", "parent_sha256", "grid_px", "cases_sha256")
"""What all folds of one training have in common."""

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Looker:
    """An ensemble that looks at sessions, at every n-th slice as ranking does."""

    members: tuple[Choice, ...]
    """Networks on PyTorch, which shows their features."""

    @property
    def key(self) -> str:
        """Return what decides the evidence of a session, besides its images."""
        engines = (str(member.engine) for member in self.members)
        return " ".join((VERSION, *self._sums(), *engines))

    def evidence(self, session: OpenSession) -> Evidence:
        """Return how unsure the ensemble is of a session, and what it sees."""
        thin = thinned(session, step_of(session))
        return combined([_look(thin, member) for member in self.members], self._sums())

    def _sums(self) -> list[str]:
        return [m.checkpoint.manifest.weights_sha256 for m in self.members]


def _look(session: OpenSession, member: Choice) -> Look:
    manifest = member.checkpoint.manifest
    stack = to_stack(session.pre, session.post, grid_px=manifest.grid_px)
    temperature = manifest.metrics.get("temperature")
    network = cast("nn.Module", member.checkpoint.network)
    return look(stack.voxels, network, member.engine, temperature=temperature)


def open_looker(
    weights: Path, archive: Archive, work: Path, wish: Wish, proofs: Proofs
) -> Looker:
    """Return the ensemble of a checkpoint, every network proven on its engine."""
    wish = replace(wish, engine="torch")
    chosen = [
        open_checkpoint(path, wish, proofs)
        for path in ensemble_of(weights, archive, work)
    ]
    return Looker(tuple(chosen))


def ensemble_of(weights: Path, archive: Archive, work: Path) -> tuple[Path, ...]:
    """Return the folds of the training that a checkpoint is of, else it alone."""
    deployed = json.loads(weights.with_suffix(".json").read_text())
    names = [f"fold-{number}" for number in range(MOST_FOLDS)]
    kept = {name: _manifest(archive, name) for name in names}
    folds = {n: m for n, m in kept.items() if m and _same_training(m, deployed)}
    if deployed["weights_sha256"] not in {m["weights_sha256"] for m in folds.values()}:
        return (weights,)
    return tuple(_fetched(archive, name, work) for name in folds)


def _same_training(fold: Manifest, deployed: Manifest) -> bool:
    return all(fold.get(key) == deployed.get(key) for key in TRAINING_KEYS)


def _manifest(archive: Archive, name: str) -> Manifest | None:
    data = archive.read(None, f"{name}.json")
    return None if data is None else json.loads(data)


def _fetched(archive: Archive, name: str, work: Path) -> Path:
    path = work / "weights" / f"{name}.safetensors"
    for part in (path, path.with_suffix(".json")):
        write_atomically(part, archive.read(None, part.name) or b"")
    return path
