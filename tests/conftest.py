"""What every test leaves behind: the logging it found, and no file of the user's."""

import logging
from collections.abc import Iterator

import pytest

PACKAGES = ("model", "plugin", "pydicom", "highdicom", "pynetdicom")


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


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what commands cache away from the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
