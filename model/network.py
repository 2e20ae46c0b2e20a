"""FCN-ResNet50 on a pre/post slice pair."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights
from torchvision.models.segmentation import fcn_resnet50

from model.errors import CheckpointError


class BreastFcn(nn.Module):
    """FCN-ResNet50 with 2 input channels and 1 output; returns logits, not a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.fcn = fcn_resnet50(
            weights=None, weights_backbone=None, num_classes=1, aux_loss=False
        )
        self.fcn.backbone.conv1 = nn.Conv2d(2, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(
            self.fcn.backbone.conv1.weight, mode="fan_out", nonlinearity="relu"
        )

    def forward(self, slices: Tensor) -> Tensor:
        """Map slices (N, 2, H, W) to logits (N, 1, H, W)."""
        return cast("Tensor", self.fcn(slices)["out"])

    def encode(self, slices: Tensor) -> Tensor:
        """Map slices (N, 2, H, W) to the encoder's mean features (N, 2048)."""
        return cast("Tensor", self.fcn.backbone(slices)["out"].mean(dim=(2, 3)))


def new_network(*, seed: int, backbone_weights: str = "none") -> BreastFcn:
    """Return a freshly initialised network.

    ``backbone_weights`` is ``none``, ``imagenet`` (the only value that downloads),
    or a safetensors file of a torchvision ResNet50.
    """
    torch.manual_seed(seed)
    network = BreastFcn()
    if backbone_weights == "imagenet":
        _adopt(network, ResNet50_Weights.IMAGENET1K_V2.get_state_dict(progress=True))
    elif backbone_weights != "none":
        _adopt(network, _read_backbone(Path(backbone_weights)))
    return network


def network_of(weights: Mapping[str, NDArray[Any]]) -> BreastFcn:
    """Return the network with these weights, ready to predict.

    Raises ``RuntimeError`` on weights of another network.
    """
    network = BreastFcn()
    network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return network.eval()


def _read_backbone(path: Path) -> dict[str, Tensor]:
    if not path.is_file() or path.suffix != ".safetensors":
        raise CheckpointError(
            str(path),
            found="no safetensors file" if path.exists() else "no such file",
            needed="ResNet50 weights with torchvision's names",
            mend="give a .safetensors file, or 'none', or 'imagenet'",
        )
    return load_file(path)


def _adopt(network: BreastFcn, weights: dict[str, Tensor]) -> None:
    """Load ResNet50 weights; the RGB stem becomes 2 channels of the same gain."""
    stem = weights["conv1.weight"].mean(dim=1, keepdim=True)
    adapted = {k: v for k, v in weights.items() if not k.startswith("fc.")}
    adapted["conv1.weight"] = stem.repeat(1, 2, 1, 1) * (3 / 2)
    missing = network.fcn.backbone.load_state_dict(adapted, strict=False)
    if missing.missing_keys:
        raise CheckpointError(
            "backbone weights",
            found=f"{len(missing.missing_keys)} ResNet50 tensors missing",
            needed="all of them",
            mend="export the file from torchvision.models.resnet50",
        )
