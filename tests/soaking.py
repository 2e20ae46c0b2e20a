"""One soak from an empty folder to its findings."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import killable
from orthanc import free_port
from service import Running, Study, destination_row, settings
from soak import Soak
from soak_findings import Findings, look
from soak_peers import Pacs, Routers

SENDERS: Final = 2
SECTIONS: Final = {
    "top": "workers = 2",
    "study": "settle_s = 0.3\nquiet_s = 2",
    "queue": "attempts = 2\ncrashes = 20\nfirst_wait_s = 0.2\nlongest_wait_s = 0.5\n"
    "revive_after_s = 1",
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it, decided by which seed, and when it has failed."""

    studies: int
    kills: int
    seed: int
    limit_s: float


def soaked(
    folder: Path, checkpoint: Path, coming: Iterator[Study], size: Size
) -> Findings:
    """Soak a service in a folder; return what came of it."""
    orders, work, port = folder / "orders", folder / "work", free_port()
    orders.mkdir()
    pacs = Pacs()
    pacs.come()
    listen = f'ae_title = "BRS"\nport = {port}\nmin_free_bytes = 0'
    config = settings(folder, checkpoint, listen=listen, **SECTIONS)
    config.write_text(config.read_text() + destination_row(pacs.port))
    words = (killable.__file__, str(orders), str(config))
    with ThreadPoolExecutor(SENDERS) as pool:
        routers = Routers(port, pool)
        rng = random.Random(size.seed)
        soak = Soak(lambda: Running(config, work, words), orders, pacs, routers, rng)
        try:
            soak.run(coming, size.studies, size.kills, size.limit_s)
            soak.service.stop()
            return look(soak)
        finally:
            routers.is_over = True
            pacs.go()
            if not soak.service.has_ended:
                soak.service.kill()
