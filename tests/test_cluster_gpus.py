"""One GPU a worker: what workers are given, and what trainings ask for."""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import distributed
import pytest
import torch
from studies import CONFIG, lab_at

from model import cell
from model.cell import Task
from model.dataset import CaseStore, Fold
from model.engine import Engine
from model.experiment import Cell
from plugin.cluster import GPU, Crew, crew_at

Workers = dict[str, dict[str, Any]]


@dataclass
class FakeClient(nullcontext[Any]):
    """A cluster in name only: it does at once what it is sent, and keeps the terms."""

    options: Sequence[dict[str, Any]]
    terms: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def wait_for_workers(self, _: int, *, timeout: float) -> None:
        assert timeout > 0

    def scheduler_info(self, *, n_workers: int) -> dict[str, Workers]:
        assert n_workers == -1, "all of them"
        shown = {"host": "here", "resources": {}}
        return {"workers": {str(k): shown | o for k, o in enumerate(self.options)}}

    def submit(self, work: Callable[..., Any], *given: Any, **terms: Any) -> Any:
        self.terms.append(terms)
        return Future(work(*given))


@dataclass(frozen=True, eq=False)
class Future:
    """What is done already."""

    answer: Any

    def result(self) -> Any:
        return self.answer


class Completed(list[Any]):
    """Futures in the order in which they were sent."""

    add = list.append

    def __next__(self) -> Any:
        return self.pop(0)


@pytest.fixture
def crew_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], Crew]:
    """Open a crew on this machine of so many workers, as if it had so many GPUs."""

    def options_of(workers: dict[str, Any], **_: Any) -> Any:
        options = [one["options"] for one in workers.values()]
        return nullcontext([one | {"env": one.get("env", {})} for one in options])

    monkeypatch.setattr(distributed, "SpecCluster", options_of)
    monkeypatch.setattr(distributed, "Client", FakeClient)
    monkeypatch.setattr(distributed, "as_completed", Completed)
    monkeypatch.setattr(cell, "perform", lambda *_: None)

    def opened(workers: int, gpus: int) -> Crew:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        with crew_at(f"local:{workers}") as crew:
            return crew

    return opened


@pytest.mark.parametrize(
    ("visible", "gpus", "expected"),
    [
        ("", 2, [("0", 1), ("1", 1), ("0", None)]),
        ("5,GPU-7", 2, [("5", 1), ("GPU-7", 1), ("5", None)]),
        ("", 4, [("0", 1), ("1", 1), ("2", 1)]),
        ("", 0, [(None, None)] * 3),
    ],
)
def test_each_worker_has_a_gpu_of_its_own_while_there_are_any(
    visible: str,
    gpus: int,
    expected: list[tuple[str | None, int | None]],
    crew_of: Callable[[int, int], Crew],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker beyond them offers none, so no training on a GPU is sent to it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    workers = crew_of(3, gpus).workers().values()
    found = [
        (w["env"].get("CUDA_VISIBLE_DEVICES"), w["resources"].get(GPU)) for w in workers
    ]
    assert found == expected
    assert [worker["nthreads"] for worker in workers] == [1, 1, 1]


@pytest.mark.parametrize(("device", "asked"), [("cuda:0", {GPU: 1}), ("cpu", None)])
def test_a_training_asks_for_one_gpu_where_it_needs_one(
    device: str,
    asked: dict[str, int] | None,
    crew_of: Callable[[int, int], Crew],
    tmp_path: Path,
) -> None:
    crew = crew_of(2, 2)
    lab = replace(lab_at(tmp_path, CaseStore(tmp_path)), engine=Engine(device, "fp32"))
    cells = [Cell(key, Fold(0, (), ()), CONFIG) for key in "abc"]
    crew.run([Task(each, ()) for each in cells], lab, lambda: "")
    assert [terms["key"] for terms in crew.client.terms] == [
        "cell-a",
        "cell-b",
        "cell-c",
    ]
    assert [terms["resources"] for terms in crew.client.terms] == [asked] * 3


@pytest.mark.parametrize(("gpus", "asked"), [(1, {GPU: 1}), (0, None)])
def test_a_question_goes_to_a_worker_with_a_gpu_if_any_has_one(
    gpus: int, asked: dict[str, int] | None, crew_of: Callable[[int, int], Crew]
) -> None:
    crew = crew_of(2, gpus)
    assert crew.ask(os.getpid) == os.getpid()
    assert [terms["resources"] for terms in crew.client.terms] == [asked]
