from collections import defaultdict
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from phantoms import patient_for, site_for
from synthetic import Plan, slices, write

from model.phantom import PhantomCase, make_case
from plugin.dce import choose
from plugin.phantom_dicom import VendorStyle, write_session
from plugin.reading.elements import text
from plugin.reading.shortlist import Glimpse, shortlist
from plugin.rules import DceRules

RULES = DceRules()


@pytest.fixture(scope="module")
def case() -> PhantomCase:
    site = replace(site_for(1, slices=12, matrix_px=32), rows=28)
    return make_case(patient_for(1), site, seed=1)


def glimpses(folder: Path) -> list[Glimpse]:
    """Return what a server's listing and one header per series tell of a folder."""
    series = defaultdict(list)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        series[text(header, "SeriesInstanceUID")].append(header)
    return [Glimpse(uid, len(found), found[0]) for uid, found in series.items()]


def is_distractor(glimpse: Glimpse) -> bool:
    return glimpse.header is None or int(glimpse.header.SeriesNumber) < 5


@pytest.mark.parametrize("style", list(VendorStyle))
def test_the_pair_is_on_the_shortlist_and_no_distractor_is(
    case: PhantomCase, tmp_path: Path, style: VendorStyle
) -> None:
    write_session(case, tmp_path, style=style, session_id="S1")
    pair = choose(tmp_path)
    chosen = set(shortlist(glimpses(tmp_path), RULES))
    likely = {pair.pre.series_uid, pair.post.series_uid}
    dynamic = {g.scan_id for g in glimpses(tmp_path) if not is_distractor(g)}
    assert chosen == (likely if style == VendorStyle.SEPARATE_SERIES else dynamic)


def series(number: int, phase: int, name: str, **tags: object) -> Glimpse:
    plan = Plan(number=number, phase=phase, description=name).with_tags(**tags)
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, slices(plan)[0], enforce_file_format=True)
    buffer.seek(0)
    header = pydicom.dcmread(buffer, stop_before_pixels=True)
    return Glimpse(str(number), 12, header)


def test_of_six_phases_in_a_series_each_two_are_pulled() -> None:
    found = [series(5 + n, n, f"t1_fl3d_tra dyn {n}") for n in range(6)]
    assert shortlist(found, RULES) == ("5", "6")


def test_the_last_series_before_contrast_is_the_one_that_is_pulled() -> None:
    found = [
        series(5, 0, "t1 pre"),
        series(6, 1, "t1 pre"),
        series(7, 2, "t1 post"),
        series(8, 3, "t1 post"),
    ]
    assert shortlist(found, RULES) == ("6", "7")


def test_a_scan_whose_header_is_unreadable_is_pulled_to_be_sure() -> None:
    found = [series(5, 0, "t1 pre"), series(6, 1, "t1 post"), Glimpse("9", 1, None)]
    assert shortlist(found, RULES) == ("5", "6", "9")


def test_a_scan_that_may_hold_all_phases_is_pulled_when_nothing_pairs() -> None:
    assert shortlist([series(5, 0, "t1_fl3d dyn")], RULES) == ("5",)


def test_too_short_scans_and_other_modalities_are_left() -> None:
    short = replace(series(5, 0, "t1"), files=3)
    assert shortlist([short, series(6, 1, "t1", Modality="SR")], RULES) == ()


def test_a_site_rule_names_the_scans_outright() -> None:
    rules = DceRules(pre_series="8", post_series="5")
    found = [series(n, n - 5, "t1") for n in (5, 6, 8)]
    assert set(shortlist(found, rules)) == {"5", "8"}


def test_choosing_from_the_shortlist_alone_gives_the_same_pair(
    case: PhantomCase, tmp_path: Path
) -> None:
    for phase in range(4):
        plan = Plan(number=5 + phase, phase=phase, description=f"t1_fl3d dyn {phase}")
        write(slices(plan), tmp_path / "all" / str(phase))
        if phase < 2:
            write(slices(plan), tmp_path / "short" / str(phase))
    whole, short = choose(tmp_path / "all"), choose(tmp_path / "short")
    assert (whole.pre.series_uid, whole.post.series_uid) == (
        short.pre.series_uid,
        short.post.series_uid,
    )
