"""One cell of a study: trained once, then tested case by case, each result kept."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from safetensors.torch import load_file
from torch import nn

from model.carbon import WORLD_KG_PER_KWH
from model.cell_store import (
    HISTORY_FILE,
    LOOKS,
    POWER_FILE,
    TESTS,
    WEIGHTS_FILE,
    CellRecord,
    CellStore,
    Scored,
)
from model.crowd import Job, at_once, predicted
from model.dataset import CaseStore
from model.energy_log import IDLE_S, EnergyLog
from model.engine import Engine
from model.ensemble import Mask, look
from model.errors import StoreError
from model.experiment import Cell
from model.network import new_network
from model.power import POWERCAP, find_meters, gpu_uuids
from model.torch_runner import TorchRunner
from model.trace import PowerMeter
from model.train import Bench, fit, footprint_before
from model.validation import held_out, score_stored


def fcn(seed: int) -> nn.Module:
    """Return the network of the study, freshly initialised."""
    return new_network(seed=seed)


@dataclass(frozen=True, slots=True)
class Lab:
    """Where cells are trained, with what, and where they are kept."""

    store: CaseStore
    cells: CellStore
    engine: Engine
    network: Callable[[int], nn.Module] = fcn
    alone: bool = True
    """No other cell runs on this machine's processor, so its energy is this cell's."""
    factor_kg_per_kwh: float = WORLD_KG_PER_KWH
    idle_w: dict[str, float | None] = field(default_factory=dict)
    """What each device draws before the first cell, as ``EnergyLog`` measured it."""

    def meters(self) -> tuple[PowerMeter, ...]:
        """Return the meters of what a cell computes on."""
        gpus = gpu_uuids([torch.device(self.engine.device)])
        return find_meters(gpus=gpus, powercap=POWERCAP if self.alone else None)

    def sources(self, case_ids: Sequence[str]) -> dict[str, str]:
        """Return the source keys of stored cases."""
        return {case_id: self.store.info(case_id).source_key for case_id in case_ids}


@dataclass(frozen=True, slots=True)
class Task:
    """A cell to train, the cases to test it on, and those to look at for evidence."""

    cell: Cell
    tests: tuple[str, ...]
    looks: tuple[str, ...] = ()


def perform(task: Task, lab: Lab) -> None:
    """Train the cell unless it is, then test and look at what is missing."""
    key = task.cell.key
    with lab.cells.held(key):
        record, network = lab.cells.record(key), None
        if record is None:
            record, network = _trained(task.cell, lab)
        tests, looks = _missing(task, lab)
        if tests or looks:
            network = network or _weighted(task.cell, lab)
            at_once(_looks(looks, network, record, lab))
            at_once(_tests(tests, network, task, lab))


def finished(task: Task, lab: Lab) -> bool:
    """Say whether nothing of the task is left to do."""
    if lab.cells.record(task.cell.key) is None:
        return False
    return not any(_missing(task, lab))


def _missing(task: Task, lab: Lab) -> tuple[list[str], list[str]]:
    key, cells = task.cell.key, lab.cells
    tests = cells.missing(key, TESTS, lab.sources(task.tests))
    return tests, cells.missing(key, LOOKS, lab.sources(task.looks))


def _trained(cell: Cell, lab: Lab) -> tuple[CellRecord, nn.Module]:
    """Fit the cell inside an energy log; its record is written last."""
    folder = lab.cells.folder(cell.key)
    unfinished = folder / "fit"
    network = lab.network(cell.config.seed)
    log = EnergyLog(
        lab.meters(),
        power_csv=folder / POWER_FILE,
        factor_kg_per_kwh=lab.factor_kg_per_kwh,
        before=footprint_before(unfinished),
        idle_s=IDLE_S,
        idle_w=lab.idle_w,
    )
    with log:
        bench = Bench(lab.store, unfinished, lab.engine, footprint=log.footprint)
        result = fit(network, cell.fold, cell.config, bench)
    found = held_out(network, cell.fold.validation, lab.store, lab.engine)
    record = CellRecord(
        key=cell.key,
        fold=cell.fold.number,
        seed=cell.config.seed,
        train=cell.fold.train,
        validation=cell.fold.validation,
        epochs=len(result.history),
        best_epoch=result.best_epoch,
        stopped_by=result.stopped_by,
        validation_dice=1 - result.history[result.best_epoch].validation_loss,
        calibration=found.calibration,
        footprint=log.footprint(),
        engine=str(lab.engine),
    )
    shutil.copyfile(unfinished / "history.csv", folder / HISTORY_FILE)
    shutil.copyfile(unfinished / "best.safetensors", folder / WEIGHTS_FILE)
    lab.cells.keep_record(record)
    shutil.rmtree(unfinished)
    return record, network


def _looks(
    cases: Sequence[str], network: nn.Module, record: CellRecord, lab: Lab
) -> Iterator[Job]:
    """Look at cases one by one; yield what keeps each look."""
    store, temperature = lab.store, record.calibration.temperature
    for case_id in cases:
        seen = look(store.stack(case_id), network, lab.engine, temperature=temperature)
        source = store.info(case_id).source_key
        yield partial(lab.cells.keep_look, record.key, case_id, seen, source)


def _tests(
    cases: Sequence[str], network: nn.Module, task: Task, lab: Lab
) -> Iterator[Job]:
    """Predict cases; yield what scores each and keeps the result.

    A look, where there is one, holds the mask that a test needs.
    """
    for case_id in cases:
        if case_id in task.looks:
            mask = lab.cells.look(task.cell.key, case_id).masks[0]
            yield partial(_score, case_id, mask, task, lab)
    unseen = [case_id for case_id in cases if case_id not in task.looks]
    runner = TorchRunner(network, lab.engine, task.cell.config.grid_px)
    for case_id, mask in predicted(unseen, runner, lab.store, lab.engine):
        yield partial(_score, case_id, mask, task, lab)


def _score(case_id: str, mask: Mask, task: Task, lab: Lab) -> None:
    tested = Scored(*score_stored(lab.store, case_id, mask), mask)
    source = lab.store.info(case_id).source_key
    lab.cells.keep_test(task.cell.key, tested, source)


def _weighted(cell: Cell, lab: Lab) -> nn.Module:
    path = lab.cells.folder(cell.key) / WEIGHTS_FILE
    if not path.exists():
        raise StoreError(
            str(path),
            found="no weights beside a finished training",
            needed="the weights, to test it on further cases",
            mend="delete the cell's folder; it is trained again",
        )
    network = lab.network(cell.config.seed)
    network.load_state_dict(load_file(path))
    return network
