"""Pick the pre- and first post-contrast time points of an acquisition, and weigh it.

What a header says of contrast is ranked: the site's rule, words in the description,
the start of the bolus against the clock, then the contrast agent, which many scanners
fill in for the whole examination.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from plugin.reading.acquisitions import Acquisition
from plugin.reading.phases import SeriesPart, TimePoint
from plugin.reading.suitable import WATER, width_mm
from plugin.reading.words import DYNAMIC, T1, Contrast, contrast_word
from plugin.rules import DceRules, matches

ULTRAFAST_S = 25.0
"""Time points closer than this are an ultrafast series: the second may be plain."""
LONG_GAP_S = 1200.0
DYNAMIC_POINTS = 3
"""So many time points of one protocol are a dynamic run: it starts before contrast."""
TIME_ORDER_CERTAINTY = 0.85
MANY_POINTS = 6
GRADIENT_ECHO = {"GR", "GRADIENT", "T1"}

Labels = Sequence[Contrast | None]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pair out of one acquisition, with what speaks for and against it."""

    acquisition: Acquisition
    pre: TimePoint
    post: TimePoint
    is_pre_labelled: bool
    """Not only the clock says that ``pre`` is before contrast."""
    certainty: float
    """1 when labels tell the two apart, less when only the time order does."""
    score: float
    reasons: tuple[str, ...]
    flags: tuple[str, ...]


def propose(
    acquisition: Acquisition, rules: DceRules, session: Sequence[SeriesPart]
) -> Proposal | str:
    """Return the pair of an acquisition, or why it has none.

    ``session`` holds all parts of the session: they tell whether a contrast agent in
    every series of the acquisition means anything.
    """
    points = acquisition.points
    if len(points) < 2:
        return "only one time point on its grid"
    labels, source, flags = _labels(points, rules, session)
    picked = _pick(labels)
    if isinstance(picked, str):
        return picked
    before, after = picked
    confirmed = labels[after] == "post" or labels[before] == "pre"
    is_dynamic = acquisition.is_one_protocol and len(points) >= DYNAMIC_POINTS
    if not confirmed and _starts_late(points):
        return "the first temporal positions are missing or incomplete"
    flags = [*acquisition.flags, *flags, *_interval_flags(points, before, after)]
    if not (confirmed or is_dynamic):
        flags.append("contrast-unconfirmed")
    if after < before:
        flags.append("times-disagree")
    elif after - before > 1:
        flags.append("phase-between")
    return Proposal(
        acquisition,
        points[before],
        points[after],
        is_pre_labelled=labels[before] == "pre",
        certainty=1.0 if confirmed else TIME_ORDER_CERTAINTY,
        score=_score(acquisition, rules, flags) - 1.0 * (not confirmed),
        reasons=_reasons(points, before, after, source if confirmed else "time order"),
        flags=tuple(dict.fromkeys(flags)),
    )


def _labels(
    points: Sequence[TimePoint], rules: DceRules, session: Sequence[SeriesPart]
) -> tuple[list[Contrast | None], str, list[str]]:
    """Return a label per point, what gave most of them, and doubts."""
    ruled = [_ruled(point, rules) for point in points]
    worded = _worded(points)
    tagged, tag_source = _tagged(points, session)
    sources = (
        ("site rule", ruled),
        ("series description", worded),
        (tag_source, tagged),
    )
    labels = [r or w or t for r, w, t in zip(ruled, worded, tagged, strict=True)]
    source = " and ".join(name for name, values in sources if any(values))
    clash = any(w and t and w != t for w, t in zip(worded, tagged, strict=True))
    return labels, source, ["contrast-tags-disagree"] if clash else []


def _worded(points: Sequence[TimePoint]) -> list[Contrast | None]:
    counts = Counter(id(point.part) for point in points)
    return [
        contrast_word(p.part.series.description, is_dynamic=counts[id(p.part)] > 1)
        for p in points
    ]


def _ruled(point: TimePoint, rules: DceRules) -> Contrast | None:
    description = point.part.series.description
    before = matches(rules.pre, description)
    after = matches(rules.post, description)
    if before == after:
        return None
    return "pre" if before else "post"


def _tagged(
    points: Sequence[TimePoint], session: Sequence[SeriesPart]
) -> tuple[Labels, str]:
    """Return what bolus start or contrast agent say; nothing if they say one thing."""
    starts = [point.frames[0].bolus_s for point in points]
    start = next((value for value in starts if value is not None), None)
    times = [point.time_s for point in points]
    if start is not None and None not in times:
        bolus: Labels = [
            "pre" if t is not None and t < start else "post" for t in times
        ]
        if len(set(bolus)) == 2:
            return bolus, "bolus start time"
    has_agent = [any(frame.contrast for frame in point.frames) for point in points]
    if all(has_agent) and not _agent_means_post(points, session):
        return [None] * len(points), ""
    if not any(has_agent):
        return [None] * len(points), ""
    return ["post" if agent else "pre" for agent in has_agent], "contrast agent"


def _agent_means_post(
    points: Sequence[TimePoint], session: Sequence[SeriesPart]
) -> bool:
    """Tell whether an agent in every time point means that the pre one is missing.

    Inside one series it does not: the header is the series' own. Across series it
    does, unless every other series of the session names the agent too.
    """
    own = {point.part.series.series_uid for point in points}
    if len(own) == 1:
        return False
    others = [part for part in session if part.series.series_uid not in own]
    return not others or not all(part.frames[0].contrast for part in others)


def _pick(labels: Labels) -> tuple[int, int] | str:
    """Return the indices of pre and first post, or why there are none."""
    before = [i for i, label in enumerate(labels) if label == "pre"]
    after = [i for i, label in enumerate(labels) if label == "post"]
    if not before and not after:
        return 0, 1
    if not after:
        return _next_after(before[-1], len(labels))
    earlier = [i for i in before if i < after[0]]
    if earlier:
        return earlier[-1], after[0]
    if before:
        return before[-1], after[0]
    if after[0] == 0:
        return "every time point is after contrast: the pre-contrast series is missing"
    return after[0] - 1, after[0]


def _starts_late(points: Sequence[TimePoint]) -> bool:
    """Tell whether TemporalPositionIdentifier, which counts from 1, starts later."""
    positions = [point.frames[0].times.temporal_position for point in points]
    known = [value for value in positions if value is not None]
    return len(known) == len(points) and min(known) > 1


def _next_after(pre: int, count: int) -> tuple[int, int] | str:
    if pre + 1 < count:
        return pre, pre + 1
    return "every time point is before contrast: the post-contrast series is missing"


def _interval_flags(points: Sequence[TimePoint], before: int, after: int) -> list[str]:
    start, end = points[before].time_s, points[after].time_s
    if start is None or end is None:
        return ["time-unknown"] if len({p.part.series for p in points}) > 1 else []
    if abs(end - start) > LONG_GAP_S:
        return ["long-gap"]
    return ["ultrafast"] if 0 < end - start < ULTRAFAST_S and len(points) > 2 else []


def _score(acquisition: Acquisition, rules: DceRules, flags: Sequence[str]) -> float:
    """Weigh competing acquisitions: contrast evidence first, then breast DCE habits."""
    technique = acquisition.points[0].part.technique
    names = " ".join(part.series.description for part in acquisition.parts)
    worth = {
        "contrast-unconfirmed": -4.0,
        "ultrafast": -3.0,
        "order-by-series-number": -2.0,
        "order-by-instance-number": -2.0,
        "times-disagree": -3.0,
        "phase-between": -1.0,
    }
    score = sum(worth.get(flag, 0.0) for flag in flags)
    score += 0.5 * min(len(acquisition.points), MANY_POINTS)
    score += 2.0 * (width_mm(acquisition.points[0].geometry) >= rules.minimum_width_mm)
    score += 2.0 * bool(GRADIENT_ECHO & {*technique.sequences})
    score += 1.0 * bool(T1.search(names)) + 1.0 * bool(DYNAMIC.search(names))
    score += 0.5 * acquisition.is_one_protocol
    return score + 0.25 * bool(WATER & {*technique.image_type})


def _reasons(
    points: Sequence[TimePoint], before: int, after: int, source: str
) -> tuple[str, ...]:
    pre, post = points[before], points[after]
    apart = "an unknown time"
    if pre.time_s is not None and post.time_s is not None:
        apart = f"{post.time_s - pre.time_s:.0f} s"
    return (
        f"{len(points)} time points on one grid of {pre.geometry.spatial_shape} voxels",
        f"pre-contrast is {name_of(pre)}, first post-contrast {name_of(post)}",
        f"{apart} apart, told by {source}",
    )


def name_of(point: TimePoint) -> str:
    """Return how messages call a time point."""
    if not point.clock:
        return point.part.series.name
    return f"{point.part.series.name} time {point.rank + 1} by {point.clock}"
