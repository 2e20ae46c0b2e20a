"""A service's engine is proven in a process that ends: for that PyTorch is loaded.

A worker lives for months, and what it has imported stays in its memory.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from model.hold import held
from plugin.engines import Wish, is_settled
from plugin.proofs import Proofs
from plugin.service.config import PREFIX

logger = logging.getLogger(__name__)

LOCK: Final = "proving.lock"


def prove_apart(weights: Path, wish: Wish, proofs: Proofs) -> None:
    """Have the engine proven by a process of its own, by one worker for all.

    What fails there, or cannot be kept, is done by the caller when it opens the
    weights: its errors are the ones to tell.
    """
    try:
        with held(proofs.folder / LOCK, wait=True):
            if not is_settled(weights, wish, proofs):
                _prove(weights, wish, proofs.folder)
    except OSError as error:
        logger.info("no engine is proven apart: %s", error.strerror)


def _prove(weights: Path, wish: Wish, cache: Path) -> None:
    """Run `brs engine`; no variable of the service is an option of it."""
    options = {
        "checkpoint": weights,
        "cache": cache,
        "engine": wish.engine,
        "device": wish.device,
        "precision": wish.precision,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    run = subprocess.run(
        [sys.executable, "-m", "plugin.cli", "engine", *words],
        env={k: v for k, v in os.environ.items() if not k.startswith(PREFIX)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    logger.info("engine proven apart (exit code %d): %s", run.returncode, run.stderr)
