"""What networks make of a session: their masks, how far these disagree, its features.

Members of an ensemble are the folds of one cross-validation, and each fold's mask of
the mirrored image turned back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from model.calibration import entropy
from model.engine import Engine
from model.inference import as_runner, predict_logits
from model.metrics import overlap
from model.preprocess import network_input
from model.ranking import Evidence

EMBEDDED_SLICES = 16
EMBEDDING_SIZE = 32
PROJECTION_SEED = 0

Mask = NDArray[np.bool_]


class Encoder(Protocol):
    """A network that shows its features."""

    def encode(self, slices: Tensor) -> Tensor:
        """Map slices (N, 2, H, W) to features (N, channels)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What one network makes of one session."""

    masks: tuple[Mask, Mask]
    """Of the image, and of the mirrored image turned back: (slices, rows, columns)."""
    entropy: float | None
    """Per predicted pixel, of the calibrated mean of both; None uncalibrated."""
    embedding: tuple[float, ...]


def look(
    voxels: NDArray[np.floating],
    network: nn.Module,
    engine: Engine,
    *,
    temperature: float | None,
) -> Look:
    """Return what ``network`` makes of a stack (slices, 2, rows, columns)."""
    runner = as_runner(network, engine, voxels.shape[-1])
    plain = predict_logits(voxels, runner, engine)
    turned = predict_logits(voxels[..., ::-1], runner, engine)[..., ::-1]
    return Look(
        masks=(plain >= 0, turned >= 0),
        entropy=_doubt((plain, turned), temperature),
        embedding=embed(voxels, network, engine),
    )


def combined(looks: Sequence[Look], checkpoints: Iterable[str]) -> Evidence:
    """Return the evidence of an ensemble; the features are the first member's."""
    doubts = [one.entropy for one in looks if one.entropy is not None]
    masks = [mask for one in looks for mask in one.masks]
    return Evidence(
        disagreement=disagreement(masks),
        entropy=sum(doubts) / len(doubts) if len(doubts) == len(looks) else None,
        embedding=looks[0].embedding,
        members=len(masks),
        checkpoints=tuple(checkpoints),
    )


def disagreement(masks: Sequence[Mask]) -> float:
    """Return 1 - mean Dice over all pairs of masks, 0 to 1; 1 where all are empty.

    A session holds breasts, so masks that agree on nothing are no agreement.
    """
    if not any(mask.any() for mask in masks):
        return 1.0
    dices = [overlap(one, other).dice for one, other in combinations(masks, 2)]
    return 1 - sum(dices) / len(dices)


def voted(masks: Sequence[Mask]) -> Mask:
    """Return the mask of an ensemble: where more than half of its masks are."""
    votes: NDArray[np.int32] = np.stack(masks).sum(axis=0, dtype=np.int32)
    return 2 * votes > len(masks)


@torch.inference_mode()
def embed(
    voxels: NDArray[np.floating], network: nn.Module, engine: Engine
) -> tuple[float, ...]:
    """Return the encoder's features, averaged over evenly spread slices, projected.

    Empty where the network shows none. The projection is fixed and random, which keeps
    distances (Johnson and Lindenstrauss).
    """
    if not hasattr(network, "encode"):
        return ()
    network.eval()
    count = min(EMBEDDED_SLICES, len(voxels))
    spread = np.linspace(0, len(voxels) - 1, count).round().astype(int)
    slices = torch.from_numpy(network_input(voxels[spread])).to(engine.device)
    with engine.autocast():
        channels = network.encode(slices).float().mean(dim=0)  # type: ignore[operator]
    return _projected(channels.double().cpu().numpy())


def _projected(channels: NDArray[np.float64]) -> tuple[float, ...]:
    rng = np.random.default_rng(PROJECTION_SEED)
    matrix = rng.normal(size=(EMBEDDING_SIZE, len(channels))) / EMBEDDING_SIZE**0.5
    return tuple((matrix @ channels).tolist())


def _doubt(
    logits: Sequence[NDArray[np.float32]], temperature: float | None
) -> float | None:
    if temperature is None:
        return None
    mean = sum(expit(one / temperature) for one in logits) / len(logits)
    predicted = int(np.count_nonzero(mean >= 0.5))
    return float(entropy(np.asarray(mean)).sum()) / max(1, predicted)
