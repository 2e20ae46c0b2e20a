"""A network in 8-bit integers: made once from its weights, kept beside them.

NNCF finds the ranges of every layer on calibration slices and rewrites OpenVINO's
graph. That takes a minute and the optional package ``nncf``; what it leaves is two
files, which OpenVINO alone runs. Their digest, how they were made, and how far their
masks agree with fp32 on other slices are in the checkpoint's manifest. Without that
record they are not run.
"""

import hashlib
import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.atomic import write_atomically
from model.errors import CheckpointError, DeviceError
from model.openvino_graph import Weights, build_graph
from model.quiet_openvino import openvino

SUFFIXES = (".int8.xml", ".int8.bin")
"""OpenVINO's graph, and its constants."""


@dataclass(frozen=True, slots=True)
class Int8Record:
    """What a manifest says of the int8 network beside its weights."""

    sha256: str
    """Of the two files, one after the other."""
    dice: float
    """Of its masks with those of fp32, on slices that it was not calibrated on."""
    needed_dice: float
    """Asked for when it was made, and again of every machine that runs it."""
    data: str
    """What it was calibrated and judged on."""
    calibration_slices: int
    judged_slices: int
    made_with: str

    def to_mapping(self) -> Mapping[str, Any]:
        """Return the record as it stands in the manifest."""
        return asdict(self)


def quantise(weights: Weights, inputs: NDArray[np.float32]) -> openvino.Model:
    """Return the network in int8, calibrated on inputs (slices, 2, rows, columns).

    Raises
    ------
    DeviceError
        If the package that does it is not installed.
    """
    check_nncf()
    import nncf

    logging.getLogger("nncf").setLevel(logging.WARNING)
    return nncf.quantize(
        build_graph(weights),
        nncf.Dataset([inputs[i : i + 1] for i in range(len(inputs))]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
    )


def check_nncf() -> None:
    """Raise ``DeviceError`` unless NNCF is installed."""
    if importlib.util.find_spec("nncf") is None:
        raise DeviceError(
            "int8",
            found="no package nncf",
            needed="it, to make an int8 network; running one needs only OpenVINO",
            mend="pip install 'xnat-brs[quantize]'",
        )


def makers() -> str:
    """Return which programs make an int8 network here."""
    return f"nncf {version('nncf')}, openvino {version('openvino')}"


def write_graph(graph: openvino.Model, path: Path) -> str:
    """Write the int8 network beside the weights at ``path``; return its digest."""
    with TemporaryDirectory() as folder:
        made = Path(folder) / "graph.xml"
        openvino.save_model(graph, made, compress_to_fp16=False)
        for suffix, source in zip(
            SUFFIXES, (made, made.with_suffix(".bin")), strict=True
        ):
            write_atomically(path.with_suffix(suffix), source.read_bytes())
    return _digest(path)


def read_graph(path: Path, record: Mapping[str, Any]) -> openvino.Model:
    """Return the int8 network that the manifest of ``path`` tells of.

    Raises
    ------
    CheckpointError
        If the manifest tells of none, or the files are not those it tells of.
    """
    if not record:
        raise _error(path, "weights without an int8 network")
    try:
        found = _digest(path)
    except OSError:
        raise _error(path, "an int8 network that is not there") from None
    if found != record["sha256"]:
        raise _error(path, f"an int8 network of SHA-256 {found[:12]}")
    return openvino.Core().read_model(*map(path.with_suffix, SUFFIXES))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for suffix in SUFFIXES:
        digest.update(path.with_suffix(suffix).read_bytes())
    return digest.hexdigest()


def _error(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        path.name,
        found=found,
        needed="the int8 files that brs quantize left beside it",
        mend="copy all files of the checkpoint together, or run brs quantize",
    )
