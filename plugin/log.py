"""Log lines for people, on stderr; stdout belongs to the result."""

import logging
import sys
import warnings

from tqdm import tqdm


class _BesideBars(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        tqdm.write(self.format(record), file=sys.stderr)


def configure(*, verbosity: int) -> None:
    """Show warnings, with 1 progress, with 2 everything of ours."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    handler = _BesideBars()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    for package in ("model", "plugin"):
        logger = logging.getLogger(package)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    # An epoch takes minutes: its line is progress, not detail.
    logging.getLogger("model.train").setLevel(min(level, logging.INFO))
    _silence_values()


def _silence_values() -> None:
    """Keep quiet what may quote header values: a log must not name a patient."""
    for package in ("pydicom", "highdicom", "pynetdicom"):
        logging.getLogger(package).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom|highdicom")
