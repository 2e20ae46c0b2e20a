from dataclasses import replace
from typing import Any

import pytest
from sessions import untrained_checkpoint

from plugin.demo import _quick


@pytest.mark.parametrize(
    ("config", "grid_px"),
    [
        ({"recipe": {"stages": [{"others_px": [64]}, {"others_px": [128, 160]}]}}, 128),
        ({"recipe": {"stages": [{"others_px": []}]}}, 192),
        ({"recipe": {"stages": [{"others_px": [256]}]}}, 192),
        ({"recipe": {"stages": [{"until": 1.0}]}}, 192),
        ({"epochs": 3}, 192),
    ],
    ids=["two grids", "one", "a larger one", "of an older recipe", "no pretraining"],
)
def test_the_demo_takes_the_smallest_grid_that_a_checkpoint_knows(
    config: dict[str, Any], grid_px: int
) -> None:
    made = untrained_checkpoint()
    checkpoint = replace(
        made, manifest=replace(made.manifest, grid_px=192, config=config)
    )
    quick = _quick(checkpoint)
    assert quick.manifest.grid_px == grid_px
    assert quick.network is checkpoint.network
