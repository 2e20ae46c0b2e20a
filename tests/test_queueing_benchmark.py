import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from benchmarks.queueing import bare, through, unflushed
from plugin.jobs import Queue

FLUSHES = 14
"""Six journals, three of their names, and five folders that a job came to or left."""


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], int]:
    def counted(act: Callable[[], None]) -> int:
        calls: list[int] = []
        monkeypatch.setattr(os, "fsync", calls.append)
        act()
        return len(calls)

    return counted


@pytest.fixture
def names() -> Iterator[str]:
    return (f"study-{number}" for number in count())


def test_the_queue_flushes_as_often_as_what_it_is_compared_with(
    tmp_path: Path, flushes: Callable[[Callable[[], None]], int], names: Iterator[str]
) -> None:
    queue = Queue(tmp_path / "work")
    through(queue, names, 1)  # the worker's folder is made
    assert flushes(partial(through, queue, names, 2)) == 2 * FLUSHES
    assert flushes(partial(bare, tmp_path, names, 2)) == 2 * FLUSHES
    assert flushes(partial(unflushed, queue, names, 2)) == 0
    assert queue.depth().done == 1 + 2 + 2
