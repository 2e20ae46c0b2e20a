"""One task per item, here or on other machines: each answer, or why there is none."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

from model.errors import BrsError

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def in_turn(
    work: Callable[[Item], Answer], items: Sequence[Item], *, label: str
) -> Iterator[tuple[Item, Answer | BrsError]]:
    """Yield each item with its answer in this process, under a bar named ``label``."""
    for item in tqdm(items, desc=label, disable=None):
        yield item, attempted(work, item)


def attempted(work: Callable[[Item], Answer], item: Item) -> Answer | BrsError:
    """Return the answer, or the problem that a person can mend."""
    try:
        return work(item)
    except BrsError as error:
        return error
