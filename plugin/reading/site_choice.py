"""The pair a site names outright: series by number or UID, time point by count."""

from plugin.errors import InputError
from plugin.reading.acquisitions import Acquisition, same_grid
from plugin.reading.pairing import Proposal, name_of
from plugin.reading.phases import TimePoint
from plugin.reading.suitable import plane_name
from plugin.reading.survey import Entry, Survey, table
from plugin.rules import DceRules

SUBJECT = "site rule"


def propose_by_rule(found: Survey, rules: DceRules) -> Proposal:
    """Return the pair of ``pre_series`` and ``post_series``, on one axial grid.

    Raises
    ------
    InputError
        If a series or time point is not there, or the two do not fit together.
    """
    is_same = rules.pre_series == rules.post_series
    post_time = rules.post_time or (rules.pre_time + 1 if is_same else 1)
    pre = _point(found, rules, series=rules.pre_series, time=rules.pre_time)
    post = _point(found, rules, series=rules.post_series, time=post_time)
    if not same_grid(pre.geometry, post.geometry, rules.tolerance_mm):
        raise _refusal(
            found,
            f"{name_of(pre)} and {name_of(post)} on different grids",
            "two volumes of equal geometry",
        )
    points = (pre, post)
    return Proposal(
        Acquisition(points, flags=(), is_one_protocol=True),
        pre,
        post,
        is_pre_labelled=True,
        certainty=1.0,
        score=0.0,
        reasons=(f"{name_of(pre)} and {name_of(post)}, chosen by site rule",),
        flags=(),
    )


def _point(found: Survey, rules: DceRules, *, series: str, time: int) -> TimePoint:
    entry = _entry(found, series)
    if (name := plane_name(entry.part.plane.orientation)) != "axial":
        raise _refusal(found, f"{entry.part.series.name}, {name}", "an axial series")
    if entry.split.positions < rules.minimum_slices:
        raise _refusal(
            found,
            f"{entry.part.series.name} with {entry.split.positions} slices",
            f"at least {rules.minimum_slices} slices",
        )
    point = next((p for p in entry.split.points if p.rank == time - 1), None)
    if point is None:
        count = len(entry.split.points)
        problem = entry.split.problems.get(time - 1, f"{count} usable time points")
        raise _refusal(
            found,
            f"{entry.part.series.name} with {problem}",
            f"a complete time point {time}",
        )
    return point


def _entry(found: Survey, series: str) -> Entry:
    """Return the largest part of the one series with this number or UID."""
    named = [
        entry
        for entry in found.entries
        if series in (entry.part.series.series_uid, str(entry.part.series.number))
    ]
    if len({entry.part.series.series_uid for entry in named}) != 1:
        raise _refusal(
            found,
            f"{len(named)} usable series with number or UID {series}",
            "exactly one",
        )
    return max(named, key=lambda entry: len(entry.part.frames))


def _refusal(found: Survey, what: str, needed: str) -> InputError:
    return InputError(
        SUBJECT,
        found=f"{what}: {table(found)}",
        needed=needed,
        mend="correct pre_series, post_series or their time in the [dce] table",
    )
