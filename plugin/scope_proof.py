"""May the network see only the breasts' surroundings? Asked once per weights."""

import logging
from dataclasses import replace

from model.fidelity import NEEDED_DICE, Fidelity, agreement, held_out_stack
from model.inference import predict
from model.scope import EVERYTHING, find_window, within
from plugin.engines import Choice, subject_of
from plugin.proofs import Proofs

logger = logging.getLogger(__name__)


def proven_scope(wanted: str, choice: Choice, proofs: Proofs) -> str:
    """Return the wanted scope, ``whole`` where it finds other masks with these weights.

    The question is put on the held-out synthetic stack, to the engine that was chosen.
    """
    if wanted == "whole":
        return wanted
    plain = subject_of(choice.checkpoint.manifest, choice.engine)
    subject = replace(plain, question=f"{plain.question}-{wanted}")
    fidelity = proofs.find(subject)
    if fidelity is None:
        fidelity = _measure(wanted, choice)
        proofs.keep(subject, fidelity)
    if fidelity.is_enough:
        return wanted
    logger.warning(
        "the network sees whole images: masks of the scope '%s' have Dice %.4f with "
        "theirs, %.3f is needed",
        wanted,
        fidelity.dice,
        NEEDED_DICE,
    )
    return "whole"


def _measure(scope: str, choice: Choice) -> Fidelity:
    checkpoint = choice.checkpoint
    stack = held_out_stack(checkpoint.manifest.grid_px)
    window = find_window(stack.voxels, stack.placement, scope)
    found, expected = (
        within(
            part, stack.voxels, lambda v: predict(v, checkpoint.network, choice.engine)
        )
        for part in (window, EVERYTHING)
    )
    return agreement(found, expected)
