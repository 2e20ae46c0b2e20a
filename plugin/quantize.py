"""An int8 network for a checkpoint, calibrated on some slices and judged on others."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.checkpoint import Manifest, read_manifest, read_weights, write_manifest
from model.engine import Engine
from model.errors import CheckpointError
from model.fidelity import SEED, Fidelity, compare, some_slices, synthetic_stack
from model.int8 import Int8Record, check_nncf, makers, quantise, write_graph
from model.openvino_runner import OpenVinoRunner
from model.preprocess import network_input, to_stack
from plugin.archive import Archive
from plugin.errors import InputError
from plugin.rules import DceRules
from plugin.session import find_pair, load_session

logger = logging.getLogger(__name__)

PATIENTS = 8
"""Synthetic ones, kept apart as that of ``model.fidelity``; every other one judges."""
SYNTHETIC = f"{PATIENTS} synthetic patients"
CALIBRATION, JUDGING = slice(0, None, 2), slice(1, None, 2)

Voxels = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Slices of patients on whom the weights were not trained, a stack each."""

    stacks: Sequence[Voxels]
    told: str

    def part(self, which: slice) -> Voxels:
        """Return the slices of every other patient."""
        return np.concatenate(list(self.stacks[which]))


def synthetic_slices(grid_px: int) -> HeldOut:
    """Return slices of synthetic patients that no training of ours draws."""
    seeds = [SEED - 1 - number for number in range(PATIENTS)]
    stacks = [synthetic_stack(seed, grid_px) for seed in seeds]
    return HeldOut([some_slices(stack.voxels) for stack in stacks], SYNTHETIC)


def session_slices(
    archive: Archive, sessions: Sequence[str], work: Path, grid_px: int
) -> HeldOut:
    """Return slices of an archive's sessions, all of them by default.

    Raises
    ------
    InputError
        If there are fewer than two: one calibrates, another judges.
    """
    wanted = sessions or archive.sessions()
    if len(wanted) < 2:
        raise InputError(
            "quantization",
            found=f"{len(wanted)} session",
            needed="at least 2: some to calibrate on, others to judge by",
            mend="name more sessions, or leave --archive out for synthetic patients",
        )
    stacks = list(_stacks(archive, wanted, work, grid_px))
    return HeldOut(stacks, f"{len(stacks)} sessions of the archive")


def _stacks(
    archive: Archive, sessions: Sequence[str], work: Path, grid_px: int
) -> Iterator[Voxels]:
    for session_id in sessions:
        pair = find_pair(archive, session_id, work, DceRules())
        opened = load_session(session_id, pair)
        stack = to_stack(opened.pre, opened.post, grid_px=grid_px)
        yield some_slices(stack.voxels)


def quantize_checkpoint(
    path: Path, output: Path, held_out: HeldOut, *, needed_dice: float
) -> Manifest:
    """Write a copy of a checkpoint with an int8 network into ``output``.

    The manifest there tells how it was made. Nothing is written where its masks are
    not those of fp32: Dice ``needed_dice`` over all slices that judge.

    Raises
    ------
    CheckpointError
        If they are not, or the weights cannot be read.
    """
    check_nncf()
    weights, manifest = read_weights(path)
    calibration, judging = (held_out.part(part) for part in (CALIBRATION, JUDGING))
    logger.info("calibrating on %d slices of %s", len(calibration), held_out.told)
    graph = quantise(weights, network_input(calibration))
    int8 = OpenVinoRunner.of_graph(graph, Engine("cpu", "int8", "openvino"))
    plain = OpenVinoRunner(weights, Engine("cpu", "fp32", "openvino"))
    found = compare(int8, plain, judging)
    logger.info("int8: %s", found)
    if found.dice < needed_dice:
        raise _refused(path, found, needed_dice)
    target = output / path.name
    output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    record = Int8Record(
        sha256=write_graph(graph, target),
        dice=found.dice,
        needed_dice=needed_dice,
        data=held_out.told,
        calibration_slices=len(calibration),
        judged_slices=len(judging),
        made_with=makers(),
    )
    written = replace(manifest, int8=record.to_mapping())
    write_manifest(written, target)
    return read_manifest(target)


def _refused(path: Path, found: Fidelity, needed_dice: float) -> CheckpointError:
    return CheckpointError(
        path.name,
        found=f"Dice {found.dice:.4f} of int8 with fp32 on {found.slices} slices",
        needed=f"{needed_dice}",
        mend="use these weights in bf16 or fp32, as auto does; weights that were "
        "trained longer lose less",
    )
