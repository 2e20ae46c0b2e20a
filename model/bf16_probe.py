"""Whether bf16 is faster than fp32 on this CPU: one block of the network is timed.

No name or flag of a CPU tells it: with AVX512-BF16 small convolutions are slower in
bf16 and large ones faster, with AMX all are, and without either bf16 is 30 times
slower. The block is one of the third stage of ResNet50, which has the middle of its
sizes. It is timed as it will be used: forward for inference, forward and backward for
training. What is compared is the time of one thread on its processor, which other load
hardly changes, unlike the time on the clock.
"""

import time
from collections.abc import Callable

import torch
from torch import nn
from torchvision.models.resnet import Bottleneck

MUST_BE_FASTER_BY = 1.1
HOPELESS = 3.0
"""So many times slower in one round, bf16 is not tried again."""
ROUNDS = 4
"""The first warms up."""
SHAPE = (2, 1024, 16, 16)


def bf16_pays(*, training: bool) -> bool:
    """Say whether PyTorch trains, or predicts, faster in bf16 on this CPU.

    Takes about half a second; a few where bf16 is slow.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            ways = [_block(training=training, bf16=bf16) for bf16 in (False, True)]
        return _ratio(*ways) > MUST_BE_FASTER_BY
    finally:
        torch.set_num_threads(threads)


def _ratio(plain: Callable[[], object], other: Callable[[], object]) -> float:
    """Return how many times faster ``other`` is, by the best of some rounds each."""
    ratio = 0.0
    plain_s: list[float] = []
    other_s: list[float] = []
    for number in range(ROUNDS):
        times = _thread_seconds(plain), _thread_seconds(other)
        if number == 0 and times[1] < HOPELESS * times[0]:
            continue
        plain_s.append(times[0])
        other_s.append(times[1])
        ratio = min(plain_s) / min(other_s)
        if ratio < 1 / HOPELESS:
            break
    return ratio


def _thread_seconds(run: Callable[[], object]) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start


def _block(*, training: bool, bf16: bool) -> Callable[[], object]:
    """Return a run of one block on ones, as an epoch or a prediction runs it."""
    channels = SHAPE[1]
    block: nn.Module = Bottleneck(channels, channels // 4, dilation=2)
    block = block.train(training).to(memory_format=torch.channels_last)
    features = torch.ones(SHAPE).to(memory_format=torch.channels_last)
    features.requires_grad_(training)

    def run() -> None:
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=bf16)
        with torch.set_grad_enabled(training), autocast:
            found = block(features)
        if training:
            found.float().sum().backward()

    return run
