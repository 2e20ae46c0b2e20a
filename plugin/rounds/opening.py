"""Whom to annotate next: the pool is ranked, the tested patients are kept out of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.active_learning import Opening, RoundRecord
from model.dataset import kept_apart
from model.ranking import Candidate, Ranking
from model.selection import rank, training_count
from plugin.archive import Archive
from plugin.errors import InputError
from plugin.masks import has_human_mask, has_trainable_mask
from plugin.rank import (
    MeasuredPool,
    RankOptions,
    RankOutcome,
    keep_ranking,
    measure_pool,
    ranking_log,
)
from plugin.rounds.place import LoopOptions, Place
from plugin.rounds.store import keep_opening
from plugin.weights import find_weights

SHARE = 0.1
"""Of the patients, asked for in a round: the paper's steps."""


@dataclass(frozen=True, slots=True)
class _Held:
    """Sessions that are tested on, and all sessions of their patients."""

    test: tuple[str, ...]
    apart: tuple[str, ...]


def open_round(
    archive: Archive,
    records: Sequence[RoundRecord],
    before: Opening | None,
    place: Place,
    options: LoopOptions,
) -> Opening | None:
    """Rank the pool and open the next round; None where nobody is left to annotate.

    ``before`` is the opening of the last round, which says who is tested.

    Raises
    ------
    InputError
        If no session can be measured.
    """
    how = _with_network(archive, records, place, options)
    wanted = [s for s in archive.sessions() if s not in options.without]
    with ranking_log(how) as log:
        pool = measure_pool(archive, wanted, place.work, how)
        held = _held(archive, pool.candidates, before, place, options)
        ranking = _ranking(archive, pool, held, place, how)
    asked = _asked(ranking, options.ask)
    if not asked:
        return None
    keep_ranking(
        archive, RankOutcome(ranking, pool.overlays, pool.failures), place.output
    )
    number = len(records) + 1
    return keep_opening(
        archive,
        Opening(number, asked, held.test, held.apart, ranking, log.footprint()),
    )


def _with_network(
    archive: Archive,
    records: Sequence[RoundRecord],
    place: Place,
    options: LoopOptions,
) -> RankOptions:
    """Return how to rank: by the last round's network, in the first as was asked."""
    given = None if records else options.start
    weights = find_weights(given, archive, place.work)
    how = replace(options.rank, looker=options.looker(weights))
    if weights is None:
        return how
    return replace(how, segmenter=options.segmenter(weights))


def _held(
    archive: Archive,
    pool: Sequence[Candidate],
    before: Opening | None,
    place: Place,
    options: LoopOptions,
) -> _Held:
    if before is not None:
        known = set(before.apart)
        keys = {c.patient_key for c in pool if c.case_id in known}
        later = {c.case_id for c in pool if c.patient_key in keys}
        return _Held(before.test, tuple(sorted(known | later)))
    keys = set(kept_apart({c.patient_key for c in pool}, options.test_share))
    apart = [c for c in pool if c.patient_key in keys]
    test = [
        _to_test(archive, [c.case_id for c in apart if c.patient_key == key], place)
        for key in keys
    ]
    return _Held(tuple(sorted(test)), tuple(sorted(c.case_id for c in apart)))


def _to_test(archive: Archive, sessions: Sequence[str], place: Place) -> str:
    """Return which session of a patient is tested on: one that is drawn already."""
    drawn = [s for s in sorted(sessions) if has_human_mask(archive, s, place.work)]
    for session_id in sessions:
        archive.release(session_id, place.work)
    return min(drawn or sessions)


def _ranking(
    archive: Archive, pool: MeasuredPool, held: _Held, place: Place, how: RankOptions
) -> Ranking:
    """Rank who may be learned from, going on from who is annotated already."""
    candidates = [c for c in pool.candidates if c.case_id not in held.apart]
    if not candidates:
        raise _nobody(pool)
    annotated = []
    for candidate in candidates:
        if has_trainable_mask(archive, candidate.case_id, place.work):
            annotated.append(candidate.case_id)
        archive.release(candidate.case_id, place.work)
    return rank(
        candidates, strategy=how.strategy, seed=how.seed, first=sorted(annotated)
    )


def _asked(ranking: Ranking, ask: int | None) -> tuple[str, ...]:
    patients = {candidate.patient_key for candidate in ranking.candidates}
    count = ask or training_count(len(patients), SHARE)
    rest = ranking.picks[len(ranking.first) :]
    return tuple(pick.case_id for pick in rest[:count])


def _nobody(pool: MeasuredPool) -> InputError:
    first = next(iter(pool.failures.values()), "all are of tested patients")
    return InputError(
        "archive",
        found=f"no session to learn from; the first that cannot be ranked: {first}",
        needed="at least one bilateral breast DCE session beside the test set",
        mend="add sessions, or give a smaller --test-share",
    )
