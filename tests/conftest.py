"""What every test leaves behind: the logging it found."""

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
