"""Orders in which every prefix covers all points well: greedy k-medoids, k-centre.

Each pick of greedy k-medoids is the point that brings all points closest to their
nearest pick. Its gain only shrinks as others are made (it is submodular), so a heap of
old gains needs few of them computed again, and equal points are one weighted point. The
full order of 10,000 sessions takes about 10 s with two features and 2 s with one, on
one core; time grows with the square of distinct points. Coordinates are integers, so
the order is the same on every machine.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.int64]


def distances(points: Points, centre: Points) -> NDArray[np.int64]:
    """Return city-block distances of points (cases, features) to one, (cases,)."""
    total: NDArray[np.int64] = np.abs(points[:, 0] - centre[0])
    for feature in range(1, points.shape[1]):
        total += np.abs(points[:, feature] - centre[feature])
    return total


def greedy_order(points: Points, first: Sequence[int] = ()) -> list[int]:
    """Return all indices of points (cases, features) in greedy k-medoids order.

    ``first`` are picked already and lead; the others go on from them. Without any the
    first is the medoid of all. Ties go to the lower index. Equal points are covered by
    one of them; the others follow in further layers, ordered anew.
    """
    unique, inverse = np.unique(points, axis=0, return_inverse=True)
    members, taken = _members(inverse.ravel(), len(unique), first)
    order = list(first)
    for layer in range(max(map(len, members))):
        kept = [at for at, cases in enumerate(members) if len(cases) > layer]
        greedy = _Greedy(
            points=unique[kept],
            weights=np.array([len(members[at]) - layer for at in kept]),
            priority=[members[at][layer] for at in kept],
        )
        given = [place for place, at in enumerate(kept) if taken[at] > layer]
        order += [members[kept[pick]][layer] for pick in greedy.picks(given)]
    return order


def farthest_first(
    points: Points, first: Sequence[int] = ()
) -> list[tuple[int, int | None]]:
    """Return all indices, each the farthest from those before, and how far, squared.

    ``first`` are picked already and lead; without any the order begins with the point
    nearest to the mean. These have no distance. Ties go to the lower index.
    """
    led = list(first) or [_middle(points)]
    near = np.min([_squared(points, points[at]) for at in led], axis=0)
    near[led] = -1
    order: list[tuple[int, int | None]] = [(at, None) for at in led]
    while len(order) < len(points):
        pick = int(np.argmax(near))
        order.append((pick, int(near[pick])))
        near = np.minimum(near, _squared(points, points[pick]))
        near[pick] = -1
    return order


def _middle(points: Points) -> int:
    mean = np.rint(points.mean(axis=0)).astype(np.int64)
    return int(np.argmin(_squared(points, mean)))


def _squared(points: Points, centre: Points) -> NDArray[np.int64]:
    squares: NDArray[np.int64] = ((points - centre) ** 2).sum(axis=1)
    return squares


def clusters(
    points: Points, order: list[int]
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield each pick and the indices it represents when made: nearer than before.

    A pick always represents itself, also beside an equal earlier one.
    """
    columns = np.asfortranarray(points)
    near = np.full(len(points), np.iinfo(np.int64).max)
    for pick in order:
        far = distances(columns, points[pick])
        mine = far < near
        mine[pick] = True
        near = np.minimum(near, far)
        yield pick, np.flatnonzero(mine)


def _members(
    inverse: NDArray[np.intp], count: int, first: Sequence[int]
) -> tuple[list[list[int]], list[int]]:
    """Return each unique point's indices, those of ``first`` leading, and how many."""
    members: list[list[int]] = [[] for _ in range(count)]
    for index in first:
        members[int(inverse[index])].append(index)
    taken, early = [len(cases) for cases in members], set(first)
    for index, at in enumerate(inverse.tolist()):
        if index not in early:
            members[at].append(index)
    return members, taken


@dataclass(slots=True)
class _Greedy:
    """Lazy greedy over distinct weighted points, sorted by their first feature."""

    points: Points
    weights: NDArray[np.int64]
    priority: list[int]
    """Lower wins a tie."""
    near: NDArray[np.int64] = field(init=False)
    """Distance of each point to its nearest pick."""
    reach: int = field(init=False)
    """The largest of them: a pick changes nothing farther away."""

    def picks(self, given: Sequence[int] = ()) -> Iterator[int]:
        """Yield all indices but the given ones, best first."""
        self.points = np.asfortranarray(self.points)
        led = list(given) or [self._medoid()]
        centres = (distances(self.points, self.points[at]) for at in led)
        self.near = reduce(np.minimum, centres)
        self.reach = int(self.near.max())
        yield from led[len(given) :]
        done = set(led)
        heap = [self._entry(at) for at in range(len(self.points)) if at not in done]
        heapq.heapify(heap)
        while heap:
            yield self._settle(heap)

    def _medoid(self) -> int:
        sums = [
            int((self.weights * distances(self.points, point)).sum())
            for point in self.points
        ]
        return min(range(len(sums)), key=lambda at: (sums[at], self.priority[at]))

    def _settle(self, heap: list[tuple[int, int, int]]) -> int:
        """Remove and return the pick whose gain, computed now, is still the best."""
        while (now := self._entry(heap[0][2])) != heap[0]:
            heapq.heapreplace(heap, now)
        pick = heapq.heappop(heap)[2]
        window, far = self._around(pick)
        self.near[window] = np.minimum(self.near[window], far)
        self.reach = int(self.near.max())
        return pick

    def _entry(self, at: int) -> tuple[int, int, int]:
        window, far = self._around(at)
        gain = np.maximum(self.near[window] - far, 0) * self.weights[window]
        return -int(gain.sum()), self.priority[at], at

    def _around(self, at: int) -> tuple[slice, NDArray[np.int64]]:
        """Return the points within reach by the first feature, and how far they are."""
        first, centre = self.points[:, 0], self.points[at]
        start, stop = np.searchsorted(
            first, [centre[0] - self.reach, centre[0] + self.reach + 1]
        )
        window = slice(int(start), int(stop))
        return window, distances(self.points[window], centre)
