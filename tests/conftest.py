"""What tests leave behind, and what none may say: the user's files and secrets."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from standin.accounts import Accounts, Token
from synthetic import SECRETS

from model.errors import BrsError

if TYPE_CHECKING:
    from model.pretraining.bank import Bank

# How fast a machine is beside other work is no property of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

LONGEST = ("test_xnat_loop", "test_xnat_token", "test_kill", "test_soak")
"""Begun first: one that is begun last keeps one worker busy and the others waiting."""
PACKAGES = ("model", "plugin", "pydicom", "highdicom", "pynetdicom")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first; all others stay in their order."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(autouse=True)
def logging_is_left_as_it_was() -> Iterator[None]:
    """Undo what a command line run in this process does to the loggers."""
    loggers = [logging.getLogger(name) for name in (*PACKAGES, "model.train")]
    before = [(log.level, list(log.handlers), log.propagate) for log in loggers]
    yield
    for log, (level, handlers, propagate) in zip(loggers, before, strict=True):
        log.setLevel(level)
        log.handlers = handlers
        log.propagate = propagate


@pytest.fixture
def discreet(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[None]:
    """Fail a test in which an error, a log line or a print tells a secret.

    That is a planted patient's name, id, birth date or accession number, a password
    ending in ``-secret``, or an alias token of the stand-in.
    """
    caplog.set_level(logging.DEBUG, "plugin")
    told: list[str] = []
    secret = {*SECRETS, "-secret"}
    made, issued = BrsError.__init__, Accounts.issue

    def noted(error: BrsError, subject: str, **parts: str) -> None:
        told.extend((subject, *parts.values()))
        made(error, subject, **parts)

    def kept(accounts: Accounts, user: str) -> Token:
        token = issued(accounts, user)
        secret.update((token.alias, token.secret))
        return token

    monkeypatch.setattr(BrsError, "__init__", noted)
    monkeypatch.setattr(Accounts, "issue", kept)
    yield
    text = "\n".join((*told, caplog.text, *capfd.readouterr()))
    assert not [word for word in secret if word in text]


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Flush nothing in this process: a test cannot pull the plug.

    A handle that is not open still fails. What is flushed, and when, is told by tests
    that listen to ``os.fsync`` themselves.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what commands cache away from the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small real checkpoint, made once: it takes seconds to make."""
    from service import small_checkpoint

    return small_checkpoint(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> "Bank":
    """Return a bank of one painted patient: it takes seconds to paint."""
    from model.pretraining.bank import BankPlan, open_bank

    return open_bank(tmp_path_factory.mktemp("bank"), BankPlan(patients=1, seed=5))
