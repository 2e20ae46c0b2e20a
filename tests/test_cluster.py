"""Tasks on a Dask cluster: a lost worker loses no result; wrong ones are refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from click.testing import CliRunner
from squares import DEADLY, REFUSED, square
from studies import CASES, GRID, filled, lab_at, pool, records, table, whole

from model.dataset import CaseStore
from model.errors import TrainingError
from model.grid import Allowance, run_grid
from plugin.cli import cli
from plugin.cluster import crew_at
from plugin.errors import ConfigError, InputError

PATIENCE_S = 120.0
LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")


def start(folder: Path, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    with (folder / f"{program}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{program}", *arguments, *LOOPBACK],
            env=os.environ | environment,
            cwd=folder,
            stdout=log,
            stderr=log,
        )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert path.exists()


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def scheduler(folder: Path, processes: list[subprocess.Popen[bytes]]) -> str:
    file = folder / "scheduler.json"
    options = ("--port", "0", "--scheduler-file", str(file))
    processes.append(start(folder, "dask_scheduler", *options))
    wait_for(file)
    return str(json.loads(file.read_text())["address"])


def worker(folder: Path, address: str, *, threads: int = 1) -> subprocess.Popen[bytes]:
    options = ("--nthreads", str(threads), "--no-nanny", "--local-directory", "scratch")
    return start(folder, "dask_worker", address, *options)


@pytest.mark.slow
def test_a_lost_worker_loses_no_result(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    store = filled(tmp_path, CASES)
    whole(store.root, tmp_path / "alone")
    address = scheduler(tmp_path, processes)
    workers = [worker(tmp_path, address) for _ in range(2)]
    processes += workers
    cut = tmp_path / "cut"
    killed: list[str] = []

    def stop() -> str:
        """Kill a worker at its cell once three are done; never stop the grid."""
        doing = crew.client.processing() if len(records(cut)) >= 3 else {}
        busy = [(at, cells) for at, cells in doing.items() if cells]
        if busy and not killed:
            address, cells = busy[0]
            os.kill(pids[address], signal.SIGKILL)
            killed.extend(cells)
        return ""

    with crew_at(address) as crew:
        crew.client.wait_for_workers(2, timeout=PATIENCE_S)
        pids = crew.client.run(os.getpid)
        assert not crew.alone(), "two workers on one machine share its processor"
        lab = lab_at(cut, CaseStore(store.root))
        grid = run_grid(
            pool(GRID, CASES),
            GRID,
            lab,
            lambda tasks, lab, _: crew.run(tasks, lab, stop),
            Allowance(),
        )
        left = len(crew.workers())
    assert sorted(w.poll() or 0 for w in workers) == [-signal.SIGKILL, 0]
    assert killed[0].removeprefix("cell-") in {run.cell.key for run in grid.runs}
    assert (left, grid.missing) == (1, 0)
    assert table(store, cut) == table(store, tmp_path / "alone")


def test_workers_here_are_processes_of_one_thread() -> None:
    with crew_at("local:2") as crew:
        assert [w["nthreads"] for w in crew.workers().values()] == [1, 1]
        assert crew.ask(os.getpid) != os.getpid()


def test_a_bad_task_has_an_error_for_its_answer_and_the_others_theirs() -> None:
    few = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with few, crew_at("local:2") as crew:
        numbers = [3, DEADLY, REFUSED, 4, 5]
        answers = dict(crew.map(square, numbers, label="squares"))
    refused, dead = answers.pop(REFUSED), answers.pop(DEADLY)
    assert answers == {3: 9, 4: 16, 5: 25}
    assert isinstance(refused, InputError)
    assert refused.needed == "another"
    assert isinstance(dead, TrainingError)
    assert "needed workers that outlive a task" in str(dead)


def test_no_task_begins_once_it_is_told_to_stop() -> None:
    with crew_at("local:1") as crew:
        stops = iter(("", "", "enough", "enough"))
        found = crew.map(square, [1, 2, 3, 4], label="s", stop=lambda: next(stops))
        assert list(found) == [(1, 1), (2, 4)]


def test_a_worker_of_several_threads_is_refused(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    address = scheduler(tmp_path, processes)
    processes.append(worker(tmp_path, address, threads=4))
    with (
        pytest.raises(ConfigError, match="1 workers of several threads"),
        crew_at(address),
    ):
        pass


def test_nobody_at_the_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugin.cluster.WAIT_S", 0.5)
    with pytest.raises(ConfigError, match="no answer"), crew_at("tcp://127.0.0.1:9"):
        pass


@pytest.mark.parametrize(
    "address", ["local", "local:0", "http://host:80", "tcp://host"]
)
def test_an_address_of_another_kind_is_refused(address: str, tmp_path: Path) -> None:
    run = CliRunner().invoke(
        cli,
        [
            *("experiment", "--archive", str(tmp_path)),
            *("--output", str(tmp_path / "o"), "--cluster", address),
        ],
    )
    assert isinstance(run.exception, ConfigError)
    assert "needed local:N, tcp://host:port" in str(run.exception)
