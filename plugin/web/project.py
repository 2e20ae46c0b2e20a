"""The archive's project, read beside the pages so that it never holds one up.

One thread asks the archive. A page waits for it a moment at most; what comes later is
there at the page's next refresh, and until then the page says so.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from model.errors import BrsError
from plugin.archive import Archive, open_archive
from plugin.errors import ArchiveError
from plugin.xnat.client import Patience

logger = logging.getLogger(__name__)

FRESH_S: Final = 20.0
WAIT_S: Final = 1.5
CHANGE_WAIT_S: Final = 45.0
MOST_KEPT: Final = 100
MOST_WAITING: Final = 20
HURRIED: Final = Patience(
    attempts=2, first_wait_s=0.5, longest_wait_s=2.0, connect_s=5.0, read_s=20.0
)
"""A page that is looked at again is better than one that waits."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Reading(Generic[Value]):
    """What the archive last said; ``value`` may be older than ``problem``."""

    value: Value | None = None
    age_s: float | None = None
    problem: str = ""
    is_pending: bool = False


@dataclass(frozen=True, slots=True)
class _Kept:
    value: Any = None
    read_s: float | None = None
    tried_s: float = 0.0
    problem: str = ""


@dataclass(eq=False, slots=True)
class _Task:
    """One thing asked of the archive, and what came of it."""

    ask: Callable[[Archive], Any]
    done: threading.Event
    value: Any = None
    error: BrsError | None = None


class Project:
    """One archive behind one thread, with a short memory."""

    def __init__(
        self,
        archive: str | Archive,
        *,
        wait_s: float = WAIT_S,
        fresh_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._named = archive
        self._wait_s, self._fresh_s = wait_s, fresh_s
        self._clock = clock
        self._opened: Archive | None = None if isinstance(archive, str) else archive
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._pending: dict[str, _Task] = {}
        self._tasks: SimpleQueue[_Task] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def read(self, key: str, ask: Callable[[Archive], Value]) -> Reading[Value]:
        """Return what ``ask`` returned lately; where it has not yet, what is known."""
        with self._lock:
            kept = self._kept.get(key, _Kept(tried_s=float("-inf")))
            is_due = self._clock() - kept.tried_s >= self._fresh_s
            task = (
                self._begin(key, ask) if is_due and key not in self._pending else None
            )
        if task is not None:
            task.done.wait(self._wait_s)
        with self._lock:
            return self._reading(key)

    def change(
        self, ask: Callable[[Archive], Value], *, keeping: Collection[str] = ()
    ) -> Value:
        """Return what ``ask`` did in the archive; what else is known is then forgotten.

        ``keeping`` are the keys of what the change leaves as it is.

        Raises
        ------
        ArchiveError
            If the archive has not answered in time: the change may yet be made.
        """
        task = _Task(ask, threading.Event())
        with self._lock:
            self._hand_over(task)
        if not task.done.wait(CHANGE_WAIT_S):
            raise _silent()
        self._forget(keeping)
        if task.error is not None:
            raise task.error
        value: Value = task.value
        return value

    def _forget(self, keeping: Collection[str]) -> None:
        with self._lock:
            for key in set(self._kept).difference(keeping):
                del self._kept[key]

    def _begin(self, key: str, ask: Callable[[Archive], Any]) -> _Task | None:
        """Hand a question over under the lock; None where too many wait already."""
        if len(self._pending) >= MOST_WAITING:
            return None
        task = self._pending[key] = _Task(
            self._remembering(key, ask), threading.Event()
        )
        self._hand_over(task)
        return task

    def _remembering(
        self, key: str, ask: Callable[[Archive], Any]
    ) -> Callable[[Archive], None]:
        """Return a question that keeps its own answer, whoever still waits for it."""

        def asked(archive: Archive) -> None:
            self._keep(key, value=ask(archive))

        return asked

    def _keep(self, key: str, value: Any = None, problem: str = "") -> None:
        now_s = self._clock()
        with self._lock:
            before = self._kept.pop(key, _Kept())
            kept = replace(before, tried_s=now_s, problem=problem)
            if not problem:
                kept = replace(kept, value=value, read_s=now_s)
            self._kept[key] = kept
            self._pending.pop(key, None)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)

    def _reading(self, key: str) -> Reading[Any]:
        kept, is_pending = self._kept.get(key, _Kept()), key in self._pending
        age_s = None if kept.read_s is None else self._clock() - kept.read_s
        return Reading(kept.value, age_s, kept.problem, is_pending)

    def _hand_over(self, task: _Task) -> None:
        """Queue a task, under the lock: there is one thread, and one connection."""
        self._tasks.put(task)
        if self._thread is None:
            # A daemon: an archive that hangs must not hold up the service's end.
            self._thread = threading.Thread(
                target=self._work, name="status-archive", daemon=True
            )
            self._thread.start()

    def _work(self) -> None:
        while True:
            self._do(self._tasks.get())

    def _do(self, task: _Task) -> None:
        try:
            task.value = task.ask(self._archive())
        except BrsError as error:
            task.error = error
        # The thread must live: an unforeseen fault costs one answer.
        except Exception as error:  # noqa: BLE001
            logger.error("the archive's answer failed: %s", type(error).__name__)
            task.error = _unforeseen(type(error).__name__)
        if task.error is not None:
            self._failed(task, task.error)
        task.done.set()

    def _failed(self, task: _Task, error: BrsError) -> None:
        with self._lock:
            keys = [key for key, known in self._pending.items() if known is task]
        for key in keys:
            self._keep(key, problem=f"{error.found}. {error.mend}.")

    def _archive(self) -> Archive:
        if self._opened is None:
            self._opened = open_archive(str(self._named), patience=HURRIED)
        return self._opened


def _silent() -> ArchiveError:
    return ArchiveError(
        "the archive",
        found=f"no answer within {CHANGE_WAIT_S:.0f} s",
        needed="the change stored and read back",
        mend="look at the session again in a minute: it may yet be stored",
    )


def _unforeseen(kind: str) -> ArchiveError:
    return ArchiveError(
        "the archive",
        found=f"an answer that could not be read ({kind})",
        needed="files that brs wrote",
        mend="look at the project's resource BRS",
    )
