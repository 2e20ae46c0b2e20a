"""The network of studies on a CPU: the paper's signature, and it learns."""

import torch

from benchmarks.small_network import SmallNetwork, small
from model.engine import Engine
from model.network import new_network
from model.step import new_learner


def test_it_takes_and_gives_what_the_paper_s_network_does() -> None:
    slices, ours, paper_s = (
        torch.zeros(2, 2, 64, 64),
        SmallNetwork(),
        new_network(seed=0),
    )
    for network in (ours.eval(), paper_s.eval()):
        assert network(slices).shape == (2, 1, 64, 64)
    assert (ours.encode(slices).ndim, paper_s.encode(slices).ndim) == (2, 2)
    assert sum(parameter.numel() for parameter in ours.parameters()) < 70_000


def test_it_learns_the_same_from_the_same_seed() -> None:
    slices = torch.randn(4, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    masks = (slices[:, :1] > 0.5).float()
    learners = [
        new_learner(small(1), Engine("cpu", "fp32"), learning_rate=0.05)
        for _ in range(2)
    ]
    first, second = (
        [float(learner.step(slices, masks)) for _ in range(60)] for learner in learners
    )
    assert first == second
    assert first[-1] < 0.2 < 0.5 < first[0]
