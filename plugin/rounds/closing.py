"""A round whose masks are all there: learned, tested, delivered, recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from model.active_learning import (
    Delivered,
    OnTest,
    Opening,
    RoundRecord,
    efforts_of,
    gain,
)
from model.advice import UNCLEAR, Advice, Ahead, advise
from model.carbon import Footprint, add, at_factor, write_carbon_csv
from model.effort import Minutes, minutes, pace
from plugin.archive import Archive
from plugin.fold_store import keep_files
from plugin.rounds.delivering import deliver, test_network
from plugin.rounds.learning import Learned, learn
from plugin.rounds.place import LoopOptions, Place
from plugin.rounds.store import check_open, keep_record
from plugin.train import DEPLOYED
from plugin.version import VERSION

NOT_YET = Advice(UNCLEAR, "")


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    """What the steps of a round gave."""

    learned: Learned
    tested: OnTest | None
    delivered: Delivered
    footprints: Mapping[str, Footprint]


def close_round(
    archive: Archive,
    opening: Opening,
    records: Sequence[RoundRecord],
    place: Place,
    options: LoopOptions,
) -> RoundRecord:
    """Do the second half of a round; the checkpoint follows its record.

    Raises
    ------
    LeakageError
        If a patient is on both sides. MaskError if a mask cannot be used. ArchiveError
        if another runner closed the round.
    """
    done = _do(archive, opening, place, options)
    record = _record(opening, records, done, options)
    record = replace(record, advice=_advice(record, records, options))
    keep_record(archive, record)
    # Where this fails the next run does it, from the fold's copy in the archive.
    keep_files(archive, place.output / "training", DEPLOYED)
    write_carbon_csv(place.output / "carbon.csv", done.footprints)
    return record


def _do(
    archive: Archive, opening: Opening, place: Place, options: LoopOptions
) -> _Done:
    learned = learn(archive, opening, place, options)
    segmenter = options.segmenter(learned.trained.checkpoint)
    test = [session for session in opening.test if session not in options.without]
    tested = test_network(archive, segmenter, test, place, options)
    check_open(archive, opening.number)
    delivered, drawn = deliver(archive, segmenter, place)
    spent = {
        "ranking": [opening.footprint],
        "training": [learned.trained.footprint],
        "prediction": [*tested.footprints, *drawn],
    }
    factor = options.train.factor_kg_per_kwh
    footprints = {
        step: at_factor(add(parts), factor) for step, parts in spent.items() if parts
    }
    return _Done(learned, tested.scores, delivered, footprints)


def _record(
    opening: Opening,
    records: Sequence[RoundRecord],
    done: _Done,
    options: LoopOptions,
) -> RoundRecord:
    best = done.learned.trained.best.manifest
    folds = done.learned.trained.folds
    return RoundRecord(
        number=opening.number,
        version=VERSION,
        closed_at=options.now().isoformat(timespec="seconds"),
        asked=opening.asked,
        without=tuple(sorted(options.without)),
        masks=done.learned.masks,
        test=opening.test,
        patients=len(done.learned.patients),
        checkpoint_sha256=best.weights_sha256,
        start_sha256=best.parent_sha256,
        validation_dice=fmean(
            float(fold.manifest.metrics["validation_dice"]) for fold in folds
        ),
        tested=done.tested,
        delivered=done.delivered,
        footprints={
            **done.footprints,
            "total": add(tuple(done.footprints.values())),
        },
        minutes=_minutes(done.learned, records, options),
        advice=NOT_YET,
        ranking=opening.ranking,
    )


def _minutes(
    learned: Learned, records: Sequence[RoundRecord], options: LoopOptions
) -> Minutes:
    """Return the minutes of the sessions that were asked for, at the site's pace."""
    asked = {m.session: m.effort for m in learned.masks if m.effort is not None}
    at = pace(
        efforts_of(records) | asked,
        options.timings_min,
        minutes_per_slice=options.minutes_per_slice,
    )
    return minutes(list(asked.values()), at)


def _advice(
    record: RoundRecord, records: Sequence[RoundRecord], options: LoopOptions
) -> Advice:
    """Return whether another round like this one is worth it."""
    learned = {mask.patient_key for mask in record.masks}
    left = {c.patient_key for c in record.ranking.candidates} - learned
    asked = len([mask for mask in record.masks if mask.effort is not None])
    patients = min(len(left), len(record.asked))
    each = record.minutes.with_drafts / asked if asked else None
    ahead = Ahead(
        patients, options.least_gain, None if each is None else each * patients
    )
    before = records[-1].tested if records else None
    curve = [one.point for one in (*records, record)]
    return advise(curve, ahead, last_gain=gain(before, record.tested))
