"""A network of 67,000 weights, for studies of many trainings on a CPU.

Not the paper's: it is trained in seconds where FCN-ResNet50 takes minutes, and can tell
whether a study's machinery works on all strategies, not how FCN-ResNet50 would fare.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

WIDTHS = (12, 24, 48)


class SmallNetwork(nn.Module):
    """Three levels of convolutions down and up, with the levels' features passed on."""

    def __init__(self) -> None:
        super().__init__()
        inner = zip((2, *WIDTHS), WIDTHS, strict=False)
        self.down = nn.ModuleList(_level(given, wanted) for given, wanted in inner)
        outer = zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True)
        self.up = nn.ModuleList(_level(low + high, high) for low, high in outer)
        self.last = nn.Conv2d(WIDTHS[0], 1, 1)

    def forward(self, slices: Tensor) -> Tensor:
        """Map slices (N, 2, H, W) to logits (N, 1, H, W)."""
        *levels, features = self._levels(slices)
        for layers, level in zip(self.up, reversed(levels), strict=True):
            larger = interpolate(features, size=level.shape[2:])
            features = layers(torch.cat((larger, level), dim=1))
        logits: Tensor = self.last(features)
        return logits

    def encode(self, slices: Tensor) -> Tensor:
        """Map slices (N, 2, H, W) to features (N, channels)."""
        return self._levels(slices)[-1].mean(dim=(2, 3))

    def _levels(self, slices: Tensor) -> list[Tensor]:
        levels: list[Tensor] = []
        for layers in self.down:
            given = max_pool2d(levels[-1], 2) if levels else slices
            levels.append(layers(given))
        return levels


def small(seed: int) -> nn.Module:
    """Return the network, freshly initialised."""
    torch.manual_seed(seed)
    return SmallNetwork()


def _level(given: int, wanted: int) -> nn.Sequential:
    pairs = ((given, wanted), (wanted, wanted))
    return nn.Sequential(
        *(
            layer
            for ins, outs in pairs
            for layer in (
                nn.Conv2d(ins, outs, 3, padding=1),
                nn.BatchNorm2d(outs),
                nn.ReLU(),
            )
        )
    )
