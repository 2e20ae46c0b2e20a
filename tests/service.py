"""The service as its own processes, with small studies to send to it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arrivals import study_key
from scp_peers import Sent, send
from sessions import untrained_checkpoint
from synthetic import Plan, post_plan, pre_plan, slices, write

from model.checkpoint import Checkpoint, write_checkpoint
from plugin.engines import Wish, open_checkpoint
from plugin.jobs import Event, Queue, State
from plugin.proofs import Proofs
from plugin.worker import CACHE

PATIENCE_S = 120.0
SLICES = 3
READY = re.compile(r"ready: \S+ at [\d.]+:(\d+)(?:, pages at http://[\d.]+:(\d+)/)?")


def await_that(happened: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline_s, f"waited for {what} in vain"
        time.sleep(0.05)


def small_checkpoint(folder: Path) -> Path:
    """Write a real checkpoint for a grid of 32 pixels; it calls everything breast.

    Its engine is proven here, so that no service does it again in a test.
    """
    return ready_checkpoint(untrained_checkpoint(), folder)


def ready_checkpoint(made: Checkpoint, folder: Path) -> Path:
    """Write a checkpoint and prove its engine for a service in fp32."""
    path = folder / "small.safetensors"
    write_checkpoint(made.network, made.manifest, path)
    open_checkpoint(path, Wish(precision="fp32"), Proofs(folder / CACHE))
    return path


@dataclass(frozen=True)
class Study:
    """The files of a small study: a series before and one after contrast."""

    key: str
    pre: tuple[Path, ...]
    post: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.pre, *self.post)


def small_study(folder: Path, name: str) -> Study:
    plans = [
        replace(plan(), study=name, patient=name) for plan in (pre_plan, post_plan)
    ]
    pre, post = (written(folder / name / str(p.number), p) for p in plans)
    return Study(study_key(slices(plans[0])), pre, post)


def late_series(folder: Path, name: str) -> tuple[Path, ...]:
    plan = post_plan(number=7, phase=2, study=name, patient=name)
    return written(folder / name / "7", plan)


def written(folder: Path, plan: Plan) -> tuple[Path, ...]:
    small = replace(plan, shape=(SLICES, *plan.shape[1:]))
    return tuple(write(slices(small), folder))


def settings(folder: Path, checkpoint: Path, **more: str) -> Path:
    """Write a small settings file; ``more`` are further sections or keys of one."""
    proofs = checkpoint.parent / CACHE
    if proofs.is_dir():
        shutil.copytree(proofs, folder / "work" / CACHE)
    rules = folder / "rules.toml"
    rules.write_text(f"[dce]\nminimum_slices = {SLICES}\n")
    sections = {
        "listen": 'ae_title = "BRS"\nport = 0\nmin_free_bytes = 0',
        "study": "settle_s = 0.5\nquiet_s = 3",
        "queue": "first_wait_s = 0.2\nlongest_wait_s = 0.5",
    } | more
    top = sections.pop("top", "")
    text = f'work = "{folder / "work"}"\ncheckpoint = "{checkpoint}"\n'
    text += f'rules = "{rules}"\nprecision = "fp32"\n{top}\n'
    for name, body in sections.items():
        text += f"[{name}]\n{body}\n"
    text += '[[callers]]\nae_title = "PACS"\n[[callers]]\nae_title = "ROUTER"\n'
    path = folder / "brs.toml"
    path.write_text(text)
    return path


def destination_row(port: int, **more: Any) -> str:
    """Return a `[[destinations]]` section's text, to append to the settings."""
    rows = {"name": "pacs", "ae_title": "PEER", "host": "127.0.0.1"} | more
    # Texts, numbers and lists of texts read the same in TOML and JSON.
    lines = [f"{key} = {json.dumps(value)}" for key, value in rows.items()]
    return "\n".join(["[[destinations]]", *lines, f"port = {port}\n"])


class Running:
    """A service that runs, until it is told to stop or killed."""

    def __init__(
        self,
        config: Path,
        work: Path,
        words: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.work = work
        self.queue = Queue(work)
        self._errors = config.with_suffix(".stderr")
        command = words or ("-m", "plugin.service", "0", str(config))
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environ or {**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self.port = self.http_port = 0

    def ready(self) -> "Running":
        """Wait until it says that it is ready; learn its ports."""
        await_that(
            lambda: READY.search(self.said) is not None or self.has_ended, "ready"
        )
        found = READY.search(self.said)
        assert found is not None, self.said
        self.port, self.http_port = int(found[1]), int(found[2] or 0)
        return self

    @property
    def said(self) -> str:
        return self._errors.read_text()

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self, *signals: signal.Signals) -> tuple[int, dict[str, Any]]:
        """Send signals, and return the exit code with the last line's JSON."""
        for number in signals or (signal.SIGTERM,):
            self.process.send_signal(number)
            time.sleep(0.3)
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, json.loads(output.splitlines()[-1])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def forget(self) -> None:
        """Let go of a process that has ended; its orphans may still hold the pipe."""
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def worker_pids(self) -> list[int]:
        """Return the living workers: the grandchildren of the supervisor."""
        parents = _parents()
        servers = {pid for pid, up in parents.items() if up == self.process.pid}
        return sorted(pid for pid, up in parents.items() if up in servers)

    def store(self, files: Sequence[Path], *, program: str = "storescu") -> Sent:
        called = ("-aet", "PACS", "-aec", "BRS")
        return send(program, *called, "127.0.0.1", self.port, *files)

    @property
    def health(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads((self.work / "health.json").read_text())
        return values

    def state(self, key: str) -> State | None:
        found = self.queue.find(key)
        return found.state if found is not None else None

    def events(self, key: str) -> tuple[Event, ...]:
        found = self.queue.find(key)
        return found.journal.events if found is not None and found.journal else ()

    def await_state(self, key: str, state: State) -> None:
        await_that(lambda: self.state(key) is state, f"{key} to be {state}")


def _parents() -> dict[int, int]:
    """Return the parent of every process (proc(5): the second field after the name)."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                found[int(stat.parent.name)] = int(fields[1])
    return found


@contextmanager
def running(config: Path, work: Path, *started: Any) -> Iterator[Running]:
    """Yield a service; ``started`` may say by which words, and in what environment."""
    service = Running(config, work, *started)
    try:
        yield service.ready()
    finally:
        if not service.has_ended:
            service.kill()
