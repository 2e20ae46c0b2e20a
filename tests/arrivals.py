"""Studies that arrive at a queue as the listener would hand them over."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydicom import Dataset
from synthetic import Plan, encoded, post_plan, pre_plan, slices

from plugin.jobs import Arrival, Queue
from plugin.receiving.identity import Identity
from plugin.receiving.landing import IMAGES
from plugin.receiving.settings import Caller, ListenerConfig
from plugin.receiving.storing import Receipt
from plugin.service.config import ServiceConfig, StudyPolicy

LISTENER = ListenerConfig(
    "BRS", (Caller("PACS"), Caller("ROUTER")), port=0, min_free_bytes=0, masks=False
)
_parts = itertools.count()


def service_config(work: Path, **changes: object) -> ServiceConfig:
    config = ServiceConfig(work, LISTENER, study=StudyPolicy(settle_s=10, quiet_s=100))
    return replace(config, **changes)  # type: ignore[arg-type]


def identity(dataset: Dataset) -> Identity:
    return Identity(
        str(dataset.StudyInstanceUID),
        str(dataset.SeriesInstanceUID),
        str(dataset.SOPInstanceUID),
        str(dataset.SOPClassUID),
    )


def accept(queue: Queue, dataset: Dataset, *, source: str = "PACS") -> Arrival:
    """Put one instance into its job, as the landing does."""
    dataset.file_meta.SourceApplicationEntityTitle = source
    part = queue.root / f"{next(_parts)}.part"
    part.write_bytes(encoded(dataset))
    who = identity(dataset)
    return queue.accept(who.study_key, part, f"{IMAGES}/{who.sop_key}.dcm")


def receipt(dataset: Dataset, *, association: str = "one") -> Receipt:
    return Receipt(identity(dataset), Arrival.NEW, "PACS", association)


def pair(study: str = "study") -> tuple[list[Dataset], list[Dataset]]:
    """Return the datasets of a pre- and a post-contrast series of 12 slices each."""
    return series(pre_plan(study=study)), series(post_plan(study=study))


def series(plan: Plan) -> list[Dataset]:
    return slices(plan)


def study_key(datasets: Sequence[Dataset]) -> str:
    return identity(datasets[0]).study_key
