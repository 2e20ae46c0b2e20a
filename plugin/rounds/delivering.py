"""What a round's network draws: for the test, and as drafts for all the others."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.active_learning import Delivered, OnTest
from model.carbon import Footprint, as_footprint
from plugin.archive import Archive
from plugin.evaluate import EvaluateOptions, evaluate_archive
from plugin.pipeline import RESULT_FILE, Segmenter
from plugin.reports.evaluation import Evaluated
from plugin.rounds.aside import Aside
from plugin.rounds.place import LoopOptions, Place
from plugin.segment import BatchItem, Delivery, segment_each


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """Scores on the test set, and each study's footprint; nothing without a set."""

    scores: OnTest | None
    footprints: tuple[Footprint, ...]


def test_network(
    archive: Archive,
    segmenter: Segmenter,
    sessions: Sequence[str],
    place: Place,
    options: LoopOptions,
) -> Tested:
    """Draw the tested sessions aside, held masks too, and compare with human masks."""
    if not sessions:
        return Tested(None, ())
    folder = place.output / "test"
    aside = Aside(archive, folder / "masks")
    delivery = Delivery(folder / "masks", place.work)
    items, _ = segment_each(aside, segmenter, delivery, sessions)
    found = evaluate_archive(
        aside,
        archive,
        folder,
        EvaluateOptions(sessions, options.data, options.train.rules, place.work),
    )
    return Tested(_scores(found), _footprints(items, delivery))


def deliver(
    archive: Archive, segmenter: Segmenter, place: Place
) -> tuple[Delivered, tuple[Footprint, ...]]:
    """Draw every session that nobody annotated, as drafts, and push them."""
    delivery = Delivery(place.output / "masks", place.work)
    items, _ = segment_each(
        archive, segmenter, delivery, archive.sessions(), skip_annotated=True
    )
    by_verdict = {
        verdict: tuple(i.session_id for i in items if i.verdict == verdict)
        for verdict in ("publish", "review", "hold")
    }
    failures = {i.session_id: i.reason for i in items if i.outcome == "failed"}
    delivered = Delivered(
        by_verdict["publish"], by_verdict["review"], by_verdict["hold"], failures
    )
    return delivered, _footprints(items, delivery)


def _scores(found: Evaluated) -> OnTest:
    slices, cases = found.summary.slices, found.summary.cases
    dice = {case.case_id: case.dice for case in found.cases}
    return OnTest(
        dice=sum(dice.values()) / len(dice),
        sessions=dice,
        slice_dice=slices.dice.mean if slices.dice else None,
        hd95_mm=cases.hd95_mm.mean if cases.hd95_mm else None,
        failures=found.failures,
    )


def _footprints(
    items: Iterable[BatchItem], delivery: Delivery
) -> tuple[Footprint, ...]:
    """Return what each study took, also those that an interrupted run had drawn."""
    folders = [delivery.results(i.session_id) for i in items if i.outcome != "failed"]
    return tuple(_footprint(folder / RESULT_FILE) for folder in folders)


def _footprint(result: Path) -> Footprint:
    return as_footprint(json.loads(result.read_bytes())["footprint"])
