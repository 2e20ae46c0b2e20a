"""What a doctor asks: a named question, and the answer with its mend."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from model.errors import BrsError

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, and how to mend it when it is not well."""

    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One question; those it needs to be well are asked before it."""

    name: str
    run: Callable[[], Verdict]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """One check's verdict."""

    name: str
    state: State
    found: str
    mend: str

    def line(self) -> str:
        """Return the answer as one line for people."""
        mend = f" -> {self.mend}" if self.mend else ""
        return f"{self.state} {self.name}: {self.found}{mend}"


def ok(found: str) -> Verdict:
    """Return the verdict that all is well."""
    return Verdict("ok", found)


def warning(found: str, mend: str) -> Verdict:
    """Return the verdict that something does less than it could."""
    return Verdict("warning", found, mend)


def failed(found: str, mend: str) -> Verdict:
    """Return the verdict that commands will fail."""
    return Verdict("failed", found, mend)


def examine(checks: Sequence[Check]) -> Iterator[Answer]:
    """Yield each check's answer in turn; what failed fails those that need it."""
    lost: set[str] = set()
    for check in checks:
        missing = [name for name in check.needs if name in lost]
        verdict = _unasked(missing[0]) if missing else _ask(check)
        if verdict.state == "failed":
            lost.add(check.name)
        yield Answer(check.name, verdict.state, verdict.found, verdict.mend)


def count(answers: Sequence[Answer]) -> dict[State, int]:
    """Return how many answers are well, how many are not."""
    found = Counter(answer.state for answer in answers)
    return {"ok": found["ok"], "warning": found["warning"], "failed": found["failed"]}


def _ask(check: Check) -> Verdict:
    try:
        return check.run()
    except BrsError as error:
        return failed(f"{error.subject}: {error.found}", error.mend)


def _unasked(missing: str) -> Verdict:
    return failed("not checked", f"mend '{missing}' first")
