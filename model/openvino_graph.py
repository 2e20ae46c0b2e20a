"""FCN-ResNet50 as an OpenVINO graph, from its weights alone.

The graph is torchvision's ``fcn_resnet50`` with 2 channels in and 1 logit out, written
in OpenVINO's operations: no converter, so no PyTorch, and not the telemetry that
OpenVINO's converter has. Rows and columns are free.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import CheckpointError
from model.quiet_openvino import openvino, ops

Weights = Mapping[str, NDArray[np.generic]]
NORM_EPSILON = 1e-5
"""torch.nn.BatchNorm2d's default, which torchvision keeps."""


class _Step(NamedTuple):
    """How a convolution's kernel moves, along rows and columns alike."""

    stride: int = 1
    padding: int = 0
    dilation: int = 1


class _Layer(NamedTuple):
    """A layer of the ResNet: so many blocks, the first of which differs."""

    blocks: int
    first: _Step
    rest: _Step


LAYERS = (
    _Layer(3, _Step(1, 1, 1), _Step(1, 1, 1)),
    _Layer(4, _Step(2, 1, 1), _Step(1, 1, 1)),
    _Layer(6, _Step(1, 1, 1), _Step(1, 2, 2)),
    _Layer(3, _Step(1, 2, 2), _Step(1, 4, 4)),
)
"""torchvision's ResNet50 with the strides of its last two layers made dilations."""
POINT = _Step()


def build_graph(weights: Weights) -> openvino.Model:
    """Return slices (1, 2, rows, columns) to logits (1, 1, rows, columns).

    Raises
    ------
    CheckpointError
        If the weights are those of another network.
    """
    slices = ops.parameter(openvino.PartialShape([1, 2, -1, -1]), np.float32)
    try:
        logits = _head(_backbone(slices, weights), weights)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            "the weights",
            found=f"other tensors ({type(error).__name__})",
            needed="those of fcn_resnet50 with 2 channels in and 1 logit out",
            mend="train a checkpoint with this version",
        ) from error
    size = ops.gather(ops.shape_of(slices), _constant([2, 3]), _constant(0))
    upsampled = ops.interpolate(
        logits,
        size,
        mode="linear_onnx",
        shape_calculation_mode="sizes",
        pads_begin=[0] * 4,
        pads_end=[0] * 4,
        coordinate_transformation_mode="half_pixel",
        axes=_constant([2, 3]),
    )
    return openvino.Model([upsampled], [slices], "fcn_resnet50")


def _backbone(slices: Any, weights: Weights) -> Any:
    name = "fcn.backbone."
    stem = _conv(slices, weights, f"{name}conv1", _Step(2, 3))
    out = ops.relu(_norm(stem, weights, f"{name}bn1"))
    pooled = ops.max_pool(out, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3])
    out = pooled.output(0)
    for number, layer in enumerate(LAYERS, start=1):
        for index in range(layer.blocks):
            step = layer.rest if index else layer.first
            out = _bottleneck(out, weights, f"{name}layer{number}.{index}.", step)
    return out


def _bottleneck(given: Any, weights: Weights, name: str, step: _Step) -> Any:
    out = given
    for part, how in ((1, POINT), (2, step), (3, POINT)):
        out = _conv(out, weights, f"{name}conv{part}", how)
        out = _norm(out, weights, f"{name}bn{part}")
        out = out if part == 3 else ops.relu(out)
    if f"{name}downsample.0.weight" in weights:
        given = _conv(given, weights, f"{name}downsample.0", _Step(step.stride))
        given = _norm(given, weights, f"{name}downsample.1")
    return ops.relu(ops.add(out, given))


def _head(features: Any, weights: Weights) -> Any:
    name = "fcn.classifier."
    out = _conv(features, weights, f"{name}0", _Step(padding=1))
    out = ops.relu(_norm(out, weights, f"{name}1"))
    bias = weights[f"{name}4.bias"].reshape(1, -1, 1, 1)
    return ops.add(_conv(out, weights, f"{name}4", POINT), _constant(bias))


def _norm(given: Any, weights: Weights, name: str) -> Any:
    parts = ("weight", "bias", "running_mean", "running_var")
    values = [_constant(weights[f"{name}.{part}"]) for part in parts]
    return ops.batch_norm_inference(given, *values, epsilon=NORM_EPSILON)


def _conv(given: Any, weights: Weights, name: str, step: _Step) -> Any:
    stride, padding, dilation = ([length] * 2 for length in step)
    kernel = _constant(weights[f"{name}.weight"])
    return ops.convolution(given, kernel, stride, padding, padding, dilation)


def _constant(values: Any) -> Any:
    return ops.constant(np.asarray(values))
