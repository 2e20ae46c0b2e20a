"""Which engine runs a checkpoint on this machine: the fastest that was proven.

On a GPU that is PyTorch in bf16, on a CPU OpenVINO. Plain fp32 PyTorch is the
reference: every other engine has to find its masks on held-out synthetic slices before
it is used with new weights. What was found is kept, so that PyTorch, which takes
seconds to import, is not even loaded where OpenVINO serves.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from model.checkpoint import (
    Checkpoint,
    Manifest,
    ReadyCheckpoint,
    read_checkpoint,
    read_manifest,
    read_weights,
)
from model.engine import Engine, choose_engine, may_have_gpu
from model.errors import CheckpointError, DeviceError
from model.fidelity import NEEDED_DICE, Fidelity, compare, held_out_slices
from model.inference import as_runner
from plugin.proofs import Proofs, Subject
from plugin.rounding import processor_of

logger = logging.getLogger(__name__)

REFERENCE_PRECISION = "fp32"
INT8 = "int8"
"""Only for weights that ``brs quantize`` accepted, and only when asked for."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for; ``auto`` leaves it to the machine."""

    engine: str = "auto"
    """``torch``, ``openvino`` or ``auto``."""
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True, slots=True)
class Choice:
    """A checkpoint ready on an engine, and why that engine is trusted."""

    checkpoint: Checkpoint | ReadyCheckpoint
    engine: Engine
    fidelity: Fidelity | None
    """None for the reference itself."""

    @property
    def told(self) -> str:
        """Return the engine and why it is trusted, in words."""
        proof = "the reference"
        if self.fidelity is not None:
            proof = f"Dice {self.fidelity.dice:.4f} with torch fp32"
        return f"{self.engine} ({proof})"


def open_checkpoint(path: Path, wish: Wish, proofs: Proofs) -> Choice:
    """Return the checkpoint on the first engine of the wish that is faithful to it.

    Raises
    ------
    CheckpointError
        If the weights cannot be read, or the only engine that was asked for finds
        other masks than plain fp32 PyTorch.
    DeviceError
        If this machine does not have what was asked for.
    """
    refused = []
    for engine in candidates(wish):
        fidelity = _fidelity(path, engine, proofs)
        if fidelity is None or fidelity.dice >= _needed_dice(path, engine):
            return Choice(_on(engine, path), engine, fidelity)
        refused.append(f"Dice {fidelity.dice:.4f} with {engine}")
        logger.warning("%s: engine not used: %s", path.name, refused[-1])
    raise CheckpointError(
        path.name,
        found=" and ".join(refused),
        needed=f"Dice {_needed_dice(path, engine)} with the masks of fp32 PyTorch",
        mend="leave engine and precision to auto, or choose torch and fp32",
    )


def is_settled(path: Path, wish: Wish, proofs: Proofs) -> bool:
    """Say whether ``open_checkpoint`` need not measure any engine first."""
    for engine in candidates(wish):
        if _is_reference(engine):
            return True
        fidelity = proofs.find(subject_of(read_manifest(path), engine))
        if fidelity is None:
            return False
        if fidelity.dice >= _needed_dice(path, engine):
            return True
    return True


def candidates(wish: Wish) -> Iterator[Engine]:
    """Yield the engines that fulfil a wish, the fastest first."""
    device = _device(wish)
    if wish.precision == INT8:
        yield _int8(wish, device)
        return
    if device == "cpu" and wish.engine != "torch":
        for precision in _openvino_precisions(wish.precision):
            yield Engine("cpu", precision, "openvino")
    if wish.engine == "openvino":
        return
    chosen = choose_engine(device=device, precision=wish.precision)
    yield chosen
    if wish.precision == "auto" and chosen.precision != REFERENCE_PRECISION:
        yield Engine(chosen.device, REFERENCE_PRECISION)


def _device(wish: Wish) -> str:
    """Return ``cpu`` where that is certain, without PyTorch; else PyTorch's answer."""
    if wish.engine == "openvino":
        if wish.device.startswith("cuda"):
            raise DeviceError(
                f"device {wish.device}",
                found="the engine openvino",
                needed="a CPU for it",
                mend="choose the engine torch or auto for a GPU",
            )
        return "cpu"
    if wish.device == "cpu" or (wish.device == "auto" and not may_have_gpu()):
        return "cpu"
    return choose_engine(device=wish.device, precision="fp32").device


def _int8(wish: Wish, device: str) -> Engine:
    """Return OpenVINO's engine in int8, which nothing stands in for."""
    if device != "cpu" or wish.engine == "torch":
        raise DeviceError(
            f"precision {INT8}",
            found=f"the engine {wish.engine} on {device}",
            needed="OpenVINO on a CPU",
            mend="choose the device cpu and the engine auto, or another precision",
        )
    return Engine("cpu", INT8, "openvino")


def _needed_dice(path: Path, engine: Engine) -> float:
    """Return the Dice that an engine needs, for int8 that of its record."""
    if engine.precision != INT8:
        return NEEDED_DICE
    return float(read_manifest(path).int8.get("needed_dice", NEEDED_DICE))


def _openvino_precisions(wanted: str) -> tuple[str, ...]:
    from model.openvino_runner import has_bf16

    if wanted != "auto":
        return (wanted,)
    return ("bf16", "fp32") if has_bf16() else ("fp32",)


def subject_of(manifest: Manifest, engine: Engine) -> Subject:
    """Return what a proof of these weights on this engine is about."""
    return Subject(
        weights_sha256=manifest.weights_sha256,
        engine=_name(manifest, engine),
        runtime=f"{engine.runtime} {version(engine.runtime)}",
        processor=processor_of(engine),
    )


def _name(manifest: Manifest, engine: Engine) -> str:
    """Return the engine's name, with which int8 network it is where it is one."""
    made = manifest.int8.get("sha256", "")[:12] if engine.precision == INT8 else ""
    return f"{engine}-{made}" if made else str(engine)


def _fidelity(path: Path, engine: Engine, proofs: Proofs) -> Fidelity | None:
    """Return how faithful an engine is to these weights, measured once."""
    if _is_reference(engine):
        return None
    manifest = read_manifest(path)
    subject = subject_of(manifest, engine)
    known = proofs.find(subject)
    if known is None:
        known = _measure(path, engine, manifest.grid_px)
        proofs.keep(subject, known)
    return known


def _is_reference(engine: Engine) -> bool:
    return engine.runtime == "torch" and engine.precision == REFERENCE_PRECISION


def _measure(path: Path, engine: Engine, grid_px: int) -> Fidelity:
    logger.info("%s: checking engine %s", path.name, engine)
    plain = Engine(engine.device, REFERENCE_PRECISION)
    subject, reference = (
        as_runner(_on(one, path).network, one, grid_px) for one in (engine, plain)
    )
    found = compare(subject, reference, held_out_slices(grid_px))
    logger.info("%s: %s", engine, found)
    return found


def _on(engine: Engine, path: Path) -> Checkpoint | ReadyCheckpoint:
    if engine.runtime == "torch":
        return read_checkpoint(path)
    from model.openvino_runner import OpenVinoRunner

    if engine.precision == INT8:
        return _ready_int8(path, engine)
    weights, manifest = read_weights(path)
    return ReadyCheckpoint(OpenVinoRunner(weights, engine), manifest)


def _ready_int8(path: Path, engine: Engine) -> ReadyCheckpoint:
    from model.int8 import read_graph
    from model.openvino_runner import OpenVinoRunner

    manifest = read_manifest(path)
    graph = read_graph(path, manifest.int8)
    return ReadyCheckpoint(OpenVinoRunner.of_graph(graph, engine), manifest)
