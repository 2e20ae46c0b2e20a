"""Whole sessions for archive tests: a tiny DCE pair, masks, and a fixed segmenter."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom import Volume
from synthetic import Plan, slices, write
from torch import nn

from model.checkpoint import Checkpoint, Manifest, ReadyCheckpoint
from model.engine import Engine
from model.network import new_network
from model.openvino_graph import Weights
from plugin.exchange import store_human_mask
from plugin.folder_archive import FolderArchive
from plugin.pipeline import Segmenter
from plugin.rules import DceRules
from plugin.segment import Delivery
from plugin.session import OpenSession, open_session

ENGINES = (
    *("torch-cpu-fp32", "torch-cpu-bf16"),
    *("openvino-cpu-fp32", "openvino-cpu-bf16"),
)
"""The first is the reference, and what tests run on unless told otherwise."""


BIAS = "fcn.classifier.4.bias"
IN_INT8: dict[tuple[str, bytes], Any] = {}
"""Networks by weights: making one takes seconds."""


def archive_with(root: Path, *session_ids: str) -> FolderArchive:
    """Return an archive whose sessions hold a pre- and a post-contrast series."""
    root.mkdir(parents=True, exist_ok=True)
    for at, session_id in enumerate(session_ids):
        patient = f"PLANTED-ID-{session_id}"
        write_pair(root / session_id, patient=patient, brighter=at)
    return FolderArchive(root)


def write_pair(folder: Path, *, patient: str = "PLANTED-ID", brighter: int = 0) -> None:
    for phase, name in enumerate(("pre", "post")):
        plan = Plan(
            number=5 + phase,
            description=f"t1_fl3d_tra {name}",
            phase=phase,
            study=patient,
            patient=patient,
            brighter=brighter,
        )
        write(slices(plan), folder / name)


def opened(archive: FolderArchive, session_id: str) -> OpenSession:
    return open_session(session_id, archive.root / session_id, DceRules())


def box_mask(session: OpenSession) -> Volume:
    """Return a mask of two boxes, one on each side."""
    mask = np.zeros(session.pre.spatial_shape, np.uint8)
    mask[2:10, 3:9, 3:9] = 1
    mask[2:10, 3:9, 15:21] = 1
    return session.pre.with_array(mask)


def annotate(archive: FolderArchive, *session_ids: str) -> None:
    for session_id in session_ids:
        session = opened(archive, session_id)
        store_human_mask(archive, session, box_mask(session))


def delivery(output: Path) -> Delivery:
    return Delivery(output, output / "work")


def untrained_segmenter(*, seed: int = 0, says: bool = True) -> Segmenter:
    """Return a segmenter that calls every pixel breast, or none.

    It runs on the engine that BRS_TEST_ENGINE names, such as openvino-cpu-bf16.
    """
    checkpoint = untrained_checkpoint(seed=seed, says=says)
    return on_engine(checkpoint, os.environ.get("BRS_TEST_ENGINE") or ENGINES[0])


def on_engine(checkpoint: Checkpoint, name: str) -> Segmenter:
    """Return a segmenter on an engine; a test of one that this CPU lacks is skipped."""
    runtime, device, precision = name.split("-")
    engine = Engine(device, precision, runtime)
    if runtime == "torch":
        return Segmenter(checkpoint, engine)
    from model.openvino_runner import OpenVinoRunner, has_bf16

    if precision == "bf16" and not has_bf16():
        pytest.skip(f"{name}: this CPU does not compute in bf16")
    weights = {k: v.numpy() for k, v in checkpoint.network.state_dict().items()}
    manifest = checkpoint.manifest
    if precision == "int8":
        manifest = replace(manifest, int8={"sha256": manifest.weights_sha256})
        of = (manifest.weights_sha256, weights[BIAS].tobytes())
        if of not in IN_INT8:
            IN_INT8[of] = _in_int8(weights)
        runner = OpenVinoRunner.of_graph(IN_INT8[of], engine)
    else:
        runner = OpenVinoRunner(weights, engine)
    return Segmenter(ReadyCheckpoint(runner, manifest), engine)


def _in_int8(weights: Weights) -> Any:
    """Return the network in int8, calibrated on a few slices of noise; needs NNCF."""
    from model.int8 import quantise

    noise = np.random.default_rng(0).uniform(0, 1.5, (4, 2, 32, 32))
    return quantise(weights, noise.astype(np.float32))


def untrained_checkpoint(*, seed: int = 0, says: bool = True) -> Checkpoint:
    """Return weights that call every pixel breast, or none."""
    manifest = Manifest(
        package_version="test",
        grid_px=32,
        fold=0,
        seed=seed,
        training_cases=(),
        config={},
        metrics={},
        footprint={},
        weights_sha256=f"{seed:064x}",
    )
    network = new_network(seed=seed).eval()
    nn.init.constant_(network.fcn.classifier[-1].bias, 9.0 if says else -9.0)
    return Checkpoint(network, manifest)
