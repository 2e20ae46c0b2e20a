"""A network draws a session's mask, and others say what they make of it."""

from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from model.bag import BagFeatures
from model.boundary import region_or_refusal
from model.inference import THRESHOLD, Progress, predict, unfollowed
from model.preprocess import SliceStack, to_source, to_stack
from model.refine import FLIP_STEP, Prediction, predict_stack
from model.scope import EVERYTHING, Window, find_window, window_around
from model.shape import Shape, read_shape
from plugin.qc import Evidence
from plugin.session import OpenSession
from plugin.stages import Report, unheard

if TYPE_CHECKING:
    from plugin.pipeline import Segmenter


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A network's mask of a session, and what speaks for and against it."""

    mask: Volume
    """0 or 1 on the session's source grid."""
    flip_dice: float | None
    shape: Shape


def draw(
    session: OpenSession, segmenter: "Segmenter", *, report: Report = unheard
) -> Drawn:
    """Return the network's mask with the second opinions on it."""
    stack = _stack(session, segmenter)
    region = cache(partial(region_or_refusal, stack.voxels[:, 0], stack.placement))
    window = EVERYTHING
    if segmenter.scope != "whole":
        window = window_around(region(), stack.placement, segmenter.scope)
    infer = partial(report, "infer")
    found = _predicted(stack, segmenter, window, flip_step=FLIP_STEP, progress=infer)
    shape = read_shape(region(), found.probability >= THRESHOLD)
    return Drawn(_on_source(found, stack), found.flip_dice, shape)


def predict_mask(
    session: OpenSession, segmenter: "Segmenter", *, flip_step: int = 0
) -> tuple[Volume, float | None]:
    """Return the network's mask (0 or 1) on the source grid, and its flip Dice."""
    stack = _stack(session, segmenter)
    window = find_window(stack.voxels, stack.placement, segmenter.scope)
    found = _predicted(stack, segmenter, window, flip_step=flip_step)
    return _on_source(found, stack), found.flip_dice


def _stack(session: OpenSession, segmenter: "Segmenter") -> SliceStack:
    grid_px = segmenter.checkpoint.manifest.grid_px
    return to_stack(session.pre, session.post, grid_px=grid_px)


def _predicted(
    stack: SliceStack,
    segmenter: "Segmenter",
    window: Window,
    *,
    flip_step: int,
    progress: Progress = unfollowed,
) -> Prediction:
    checkpoint = segmenter.checkpoint
    return predict_stack(
        stack,
        partial(predict, network=checkpoint.network, engine=segmenter.engine),
        segmenter.refinement,
        flip_step=flip_step,
        window=window,
        progress=progress,
    )


def _on_source(found: Prediction, stack: SliceStack) -> Volume:
    return to_source(found.probability, stack, threshold=THRESHOLD)


def evidence_of(
    session: OpenSession,
    drawn: Drawn,
    features: BagFeatures | None,
    segmenter: "Segmenter",
) -> Evidence:
    """Return what is known of a mask besides itself."""
    measured = asdict(features) if features else {}
    return Evidence(
        features={k: v for k, v in measured.items() if isinstance(v, (int, float))},
        training_range=segmenter.checkpoint.manifest.bag_range or None,
        flip_dice=drawn.flip_dice,
        pair_confidence=session.pair.confidence,
        pair_flags=session.pair.flags,
        shape=drawn.shape,
        same_images=same_images(session),
        silent_share=silent_share(session, drawn.mask),
        repeated_share=repeated_share(session, drawn.mask),
    )


def same_images(session: OpenSession) -> bool:
    """Tell whether both volumes of a session are equal, voxel by voxel."""
    return bool(np.array_equal(session.pre.array, session.post.array))


def silent_share(session: OpenSession, mask: Volume) -> float | None:
    """Return the share of a mask's voxels without signal, None for an empty mask."""
    image, inside = _about(session.pre, mask)
    values = image[inside]
    return float((values <= 0).mean()) if values.size else None


def repeated_share(session: OpenSession, mask: Volume) -> float | None:
    """Return the share of a mask's voxels with the value of the next slice."""
    image, inside = _about(session.pre, mask)
    both = inside[1:] & inside[:-1]
    same = (image[1:] == image[:-1])[both]
    return float(same.mean()) if same.size else None


def _about(image: Volume, mask: Volume) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return image and mask in all slices, but only in rows and columns with mask."""
    rows, columns = np.nonzero(mask.array.any(axis=0))
    box = (slice(None), _span(rows), _span(columns))
    return image.array[box], mask.array[box] > 0


def _span(used: NDArray[np.intp]) -> slice:
    return slice(used.min(), used.max() + 1) if used.size else slice(0)
