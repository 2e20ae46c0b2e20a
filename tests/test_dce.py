"""The pair is found in every style scanners write, with reasons; doubt is flagged."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import (
    SAGITTAL,
    START_S,
    TIME_STYLES,
    Plan,
    change,
    clock,
    encoded,
    enhanced,
    legacy,
    one_series,
    phases,
    post_plan,
    pre_plan,
    slices,
    uid,
    write,
    write_pair,
    write_plan,
)

from plugin.dce import DceRules, choose, read_rules
from plugin.errors import ConfigError, InputError
from plugin.reading.flags import WEIGHTS
from plugin.series import DcePair, Phase

T2 = Plan(number=3, description="t2_tse_tra").with_tags(EchoTime="90")
LOCALISER = Plan(number=1, description="localizer", shape=(3, 16, 24))


def frame_uids(plan: Plan) -> list[str]:
    return [uid(plan.study, plan.number, plan.phase, i) for i in range(plan.shape[0])]


def uids_of(phase: Phase) -> list[str]:
    return [frame.sop_instance_uid for frame in phase.frames]


def write_series(folder: Path, *plans: Plan) -> None:
    for plan in plans:
        write_plan(folder / f"{plan.number}-{plan.phase}", plan)


def chosen_series(pair: DcePair) -> tuple[str, str]:
    return pair.pre.series_uid, pair.post.series_uid


def series_uid(number: int) -> str:
    return uid("study", "series", number)


def test_a_pair_of_series_is_found_with_its_reasons(tmp_path: Path) -> None:
    write_pair(tmp_path)
    pair = choose(tmp_path)
    assert uids_of(pair.pre) == frame_uids(pre_plan())
    assert uids_of(pair.post) == frame_uids(post_plan())
    assert (pair.pre.time_s, pair.post.time_s) == (0.0, 90.0)
    assert pair.pre.description == "t1_fl3d_tra pre"
    assert pair.pre.study_uid == uid("study")
    assert pair.pre.frame_of_reference_uid == uid("study", "frame of reference")
    assert pair.flags == ()
    assert pair.confidence == 0.98
    assert pair.reasons == (
        "2 time points on one grid of (12, 16, 24) voxels",
        'pre-contrast is series 5 "t1_fl3d_tra pre", '
        'first post-contrast series 6 "t1_fl3d_tra post"',
        "90 s apart, told by series description",
    )


@pytest.mark.parametrize("style", TIME_STYLES)
def test_phases_of_one_series_are_told_apart(tmp_path: Path, style: str) -> None:
    write(one_series(style), tmp_path)
    pair = choose(tmp_path)
    assert uids_of(pair.pre) == frame_uids(Plan(phase=0))
    assert uids_of(pair.post) == frame_uids(Plan(phase=1))
    by_count = style == "instance number"
    assert pair.flags == (("order-by-instance-number",) if by_count else ())
    assert (pair.confidence < 0.5) == by_count


@pytest.mark.parametrize("style", ["temporal position", "trigger time"])
def test_clocks_that_run_backwards_are_flagged(tmp_path: Path, style: str) -> None:
    datasets = one_series(style)
    for phase in range(4):
        late = clock(START_S - 90 * phase)
        change(datasets[12 * phase : 12 * phase + 12], AcquisitionTime=late)
    write(datasets, tmp_path)
    pair = choose(tmp_path)
    assert uids_of(pair.pre) == frame_uids(Plan(phase=0))
    assert "times-disagree" in pair.flags


def test_trigger_times_give_the_seconds_between_phases(tmp_path: Path) -> None:
    write(one_series("trigger time"), tmp_path)
    assert choose(tmp_path).post.time_s == 90.0


def test_an_enhanced_object_with_all_phases_is_split(tmp_path: Path) -> None:
    write([enhanced(phases(4))], tmp_path)
    pair = choose(tmp_path)
    assert [f.frame_number for f in pair.pre.frames] == list(range(1, 13))
    assert [f.frame_number for f in pair.post.frames] == list(range(13, 25))
    assert pair.post.time_s == 90.0


def test_one_enhanced_object_per_phase_is_a_phase_each(tmp_path: Path) -> None:
    write([enhanced([plan]) for plan in phases(4)], tmp_path)
    pair = choose(tmp_path)
    first, second = (uid("study", "enhanced", 5, phase) for phase in (0, 1))
    assert set(uids_of(pair.pre)) == {first}
    assert set(uids_of(pair.post)) == {second}


def test_one_enhanced_series_per_phase_is_a_phase_each(tmp_path: Path) -> None:
    write([enhanced([pre_plan()]), enhanced([post_plan()])], tmp_path)
    assert chosen_series(choose(tmp_path)) == (series_uid(5), series_uid(6))


def test_a_legacy_converted_object_is_split(tmp_path: Path) -> None:
    write([legacy(phases(3))], tmp_path)
    pair = choose(tmp_path)
    assert (len(pair.pre.frames), len(pair.post.frames)) == (12, 12)
    assert pair.post.time_s == 90.0


def test_unlabelled_series_are_ordered_by_time_not_number(tmp_path: Path) -> None:
    plans = [
        Plan(number=number, phase=phase, description="t1 dyn")
        for number, phase in ((9, 0), (5, 1), (7, 2))
    ]
    write_series(tmp_path, *plans)
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(9), series_uid(5))
    assert pair.flags == ()
    assert pair.confidence == pytest.approx(0.98 * 0.85, abs=1e-3)


def test_two_unlabelled_series_are_flagged(tmp_path: Path) -> None:
    write_pair(tmp_path, Plan(number=5), Plan(number=6, phase=1))
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert pair.flags == ("contrast-unconfirmed",)


def test_series_without_any_clock_are_ordered_by_number(tmp_path: Path) -> None:
    for number in (7, 5, 6):
        plan = Plan(number=number, description="t1 dyn")
        datasets = change(slices(plan), AcquisitionTime=None, ContentTime=None)
        write(datasets, tmp_path / str(number))
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert pair.flags == ("order-by-series-number", "time-unknown")
    assert pair.confidence < 0.5


def test_a_contrast_agent_tells_pre_from_post(tmp_path: Path) -> None:
    agent = {"ContrastBolusAgent": "Gadobutrol"}
    plans = [Plan(number=5 + i, phase=i, description="t1 dyn") for i in range(3)]
    write_series(tmp_path, plans[0], *(plan.with_tags(**agent) for plan in plans[1:]))
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert pair.reasons[-1].endswith("told by contrast agent")
    assert pair.flags == ()


def test_the_last_plain_phase_before_contrast_is_pre(tmp_path: Path) -> None:
    start = {"ContrastBolusStartTime": clock(START_S + 100)}
    datasets = change(one_series("acquisition time"), **start)
    write(datasets, tmp_path)
    pair = choose(tmp_path)  # phases at 0, 90, 180 and 270 s, bolus at 100 s
    assert uids_of(pair.pre) == frame_uids(Plan(phase=1))
    assert uids_of(pair.post) == frame_uids(Plan(phase=2))
    assert pair.reasons[-1].endswith("told by bolus start time")


def test_an_agent_in_every_series_of_the_session_means_nothing(tmp_path: Path) -> None:
    plans = [T2, *(Plan(number=5 + i, phase=i, description="t1") for i in range(2))]
    write_series(tmp_path, *(p.with_tags(ContrastBolusAgent="Gd") for p in plans))
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert "contrast-unconfirmed" in pair.flags


def test_words_win_over_an_agent_and_the_clash_is_flagged(tmp_path: Path) -> None:
    write_pair(tmp_path, pre=pre_plan().with_tags(ContrastBolusAgent="Gd"))
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert pair.flags == ("contrast-tags-disagree",)


def test_labels_against_the_clock_are_flagged(tmp_path: Path) -> None:
    write_pair(tmp_path, pre=pre_plan(phase=2))
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert "times-disagree" in pair.flags


def test_an_unlabelled_phase_between_pre_and_post_is_flagged(tmp_path: Path) -> None:
    write_series(tmp_path, Plan(number=8, phase=1), post_plan(phase=2), pre_plan())
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert pair.flags == ("phase-between",)


def test_dicom_is_preferred_to_nifti_beside_it(tmp_path: Path) -> None:
    write_pair(tmp_path)
    for name in ("pre.nii.gz", "post.nii.gz"):
        (tmp_path / name).write_bytes(b"an export")
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert pair.ignored == {"NIfTI beside DICOM": 2}


def test_a_plain_series_before_a_dynamic_one_is_its_pre(tmp_path: Path) -> None:
    write_series(tmp_path, Plan(number=4, description="t1 tra"))
    agent = {"ContrastBolusAgent": "Gd", "SeriesDescription": "t1 tra dyn"}
    late = [replace(p, phase=p.phase + 1) for p in phases(4)]
    for plan in late:
        stamp = {"TemporalPositionIdentifier": plan.phase}
        write_series(tmp_path, plan.with_tags(**agent, **stamp))
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(4), series_uid(5))
    assert uids_of(pair.post) == frame_uids(Plan(phase=1))


def test_an_unlabelled_volume_before_a_dynamic_series_is_flagged(
    tmp_path: Path,
) -> None:
    write_series(tmp_path, Plan(number=4, description="t1 tra"))
    for plan in phases(4):
        later = replace(plan, phase=plan.phase + 1)
        named = {"SeriesDescription": "dyn", "TemporalPositionIdentifier": plan.phase}
        write_series(tmp_path, later.with_tags(**named))
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(5))
    assert pair.flags == ("earlier-volume",)
    assert pair.confidence < 0.5


DISTRACTORS = {
    "localiser": LOCALISER,
    "T2-weighted": T2,
    "subtraction": Plan(number=20, phase=1, description="t1_fl3d_tra SUB"),
    "derived image": Plan(number=21, phase=1, description="t1_fl3d_tra").with_tags(
        ImageType=["DERIVED", "PRIMARY", "M", "REG"]
    ),
    "projection": Plan(number=22, phase=1, description="t1_fl3d_tra").with_tags(
        ImageType=["DERIVED", "SECONDARY", "MIP"]
    ),
    "secondary image": Plan(number=23, phase=1, description="t1").with_tags(
        ImageType=["ORIGINAL", "SECONDARY", "M"]
    ),
    "diffusion": Plan(number=24, phase=1, description="ep2d_diff"),
    "no T1 sequence": Plan(number=25, phase=1, description="x").with_tags(
        ScanningSequence="EP"
    ),
    "echo time of 60 ms": Plan(number=26, description="x").with_tags(EchoTime="60"),
    "sagittal": Plan(
        number=27, description="t1 post", orientation=(0, 1, 0, 0, 0, -1), phase=1
    ),
    "coronal": Plan(
        number=28, description="t1 post", orientation=(1, 0, 0, 0, 0, -1), phase=1
    ),
    "fat or opposed-phase image": Plan(number=29, description="t1", phase=1).with_tags(
        ImageType=["DERIVED", "PRIMARY", "DIXON", "FAT"]
    ),
    "phase or complex image": Plan(number=30, description="t1", phase=1).with_tags(
        ImageType=["ORIGINAL", "PRIMARY", "P", "ND"]
    ),
    "fewer than 10 slices": Plan(number=31, description="t1 post", shape=(6, 16, 24)),
}


@pytest.mark.parametrize("reason", DISTRACTORS)
def test_distractors_are_left_out_by_reason(tmp_path: Path, reason: str) -> None:
    distractor = DISTRACTORS[reason]
    write_pair(tmp_path)
    write_series(tmp_path, distractor)
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert pair.ignored == {reason: distractor.shape[0]}
    assert pair.flags == ()


def test_water_images_are_preferred_to_other_volumes(tmp_path: Path) -> None:
    water = {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]}
    write_pair(tmp_path, pre_plan().with_tags(**water), post_plan().with_tags(**water))
    assert chosen_series(choose(tmp_path)) == (series_uid(5), series_uid(6))


def test_the_acquisition_with_contrast_evidence_wins(tmp_path: Path) -> None:
    grid: dict[str, Any] = {"shape": (14, 20, 20), "pixel_mm": (16.0, 16.0)}
    rivals = [
        Plan(number=30 + i, phase=i, description="t1 rest", **grid) for i in (0, 1)
    ]
    write_series(tmp_path, *rivals)
    write_pair(tmp_path)
    assert chosen_series(choose(tmp_path)) == (series_uid(5), series_uid(6))


def test_two_equal_acquisitions_are_flagged(tmp_path: Path) -> None:
    shifted = {"position_mm": (-160.0, -120.0, 100.0)}
    write_pair(tmp_path)
    again = [
        pre_plan(number=15, phase=10, **shifted),
        post_plan(number=16, phase=11, **shifted),
    ]
    write_series(tmp_path, *again)
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert pair.flags == ("several-acquisitions",)


def test_a_bilateral_acquisition_beats_a_one_sided_one(tmp_path: Path) -> None:
    narrow = {"pixel_mm": (5.0, 5.0)}
    sided = [pre_plan(number=3, **narrow), post_plan(number=4, **narrow)]
    write_series(tmp_path, *sided)
    write_pair(tmp_path)
    assert chosen_series(choose(tmp_path)) == (series_uid(5), series_uid(6))


def test_an_ultrafast_series_loses_to_a_conventional_one(tmp_path: Path) -> None:
    grid: dict[str, Any] = {"shape": (14, 20, 20), "pixel_mm": (16.0, 16.0)}
    for phase in range(8):
        plan = Plan(number=4, phase=phase, description="twist dyn", **grid)
        stamp = {"AcquisitionTime": clock(START_S + 5 * phase)}
        write_series(tmp_path, plan.with_tags(**stamp))
    write(one_series("acquisition time"), tmp_path / "5")
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(5))


def test_an_ultrafast_series_alone_is_flagged(tmp_path: Path) -> None:
    for plan in phases(5):
        stamp = {"AcquisitionTime": clock(START_S + 5 * plan.phase)}
        write_series(tmp_path, plan.with_tags(**stamp))
    assert choose(tmp_path).flags == ("ultrafast",)


FLAGGED: dict[str, tuple[Plan, Plan]] = {
    "unilateral": (
        pre_plan(pixel_mm=(8.0, 8.0)),
        post_plan(pixel_mm=(8.0, 8.0)),
    ),
    "supine": (
        pre_plan().with_tags(PatientPosition="HFS"),
        post_plan().with_tags(PatientPosition="HFS"),
    ),
    "not-prone": (
        pre_plan().with_tags(PatientPosition="HFDR"),
        post_plan().with_tags(PatientPosition="HFDR"),
    ),
    "patient-position-unknown": (
        pre_plan().with_tags(PatientPosition=None),
        post_plan().with_tags(PatientPosition=None),
    ),
    "oblique": (
        pre_plan(orientation=(1, 0, 0, 0, 0.94, 0.34117444)),
        post_plan(orientation=(1, 0, 0, 0, 0.94, 0.34117444)),
    ),
    "lossy": (
        pre_plan(),
        post_plan().with_tags(LossyImageCompression="01"),
    ),
    "long-gap": (pre_plan(), post_plan(phase=20)),
    "frame-of-reference-differs": (
        pre_plan(),
        post_plan().with_tags(FrameOfReferenceUID="1.2.3"),
    ),
}


@pytest.mark.parametrize("flag", FLAGGED)
def test_what_a_person_must_look_at_is_flagged(tmp_path: Path, flag: str) -> None:
    write_pair(tmp_path, *FLAGGED[flag])
    pair = choose(tmp_path)
    assert pair.flags == (flag,)
    assert pair.confidence == pytest.approx(0.98 * WEIGHTS[flag], abs=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"position_mm": (-20.0, -120.0, -30.0)},
        {"tags": {"Laterality": "R"}},
    ],
)
def test_half_a_body_is_one_sided_too(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_pair(tmp_path, pre_plan(**changes), post_plan(**changes))
    assert choose(tmp_path).flags == ("unilateral",)


def test_order_of_slices_follows_the_normal(tmp_path: Path) -> None:
    mirrored = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    write_pair(
        tmp_path, pre_plan(orientation=mirrored), post_plan(orientation=mirrored)
    )
    assert uids_of(choose(tmp_path).pre) == frame_uids(pre_plan())


@functools.cache
def files_of(style: str) -> list[bytes]:
    """Return the files of one series with two phases, in scanner order."""
    return [encoded(dataset) for dataset in one_series(style, count=2)]


@settings(deadline=None, max_examples=15)
@given(
    order=st.permutations(range(24)),
    style=st.sampled_from(sorted(set(TIME_STYLES) - {"instance number"})),
)
def test_the_order_of_files_never_matters(
    tmp_path_factory: pytest.TempPathFactory, order: Sequence[int], style: str
) -> None:
    folder = tmp_path_factory.mktemp("order")
    for name, data in zip(order, files_of(style), strict=True):
        (folder / f"{name}.dcm").write_bytes(data)
    pair = choose(folder)
    assert uids_of(pair.pre) == frame_uids(Plan(phase=0))
    assert uids_of(pair.post) == frame_uids(Plan(phase=1))
    assert pair.flags == ("contrast-unconfirmed",)


def test_equal_input_gives_an_equal_answer_whatever_the_names(tmp_path: Path) -> None:
    plans = (pre_plan(), post_plan(), T2, LOCALISER)
    for name, ordered in (("a", plans), ("b", plans[::-1])):
        for place, plan in enumerate(ordered):
            write_plan(tmp_path / name / f"{place}", plan)
    first, second = choose(tmp_path / "a"), choose(tmp_path / "b")
    assert uids_of(first.pre) == uids_of(second.pre)
    assert uids_of(first.post) == uids_of(second.post)
    assert replace(first, pre=second.pre, post=second.post) == second


def test_midnight_between_the_phases_is_no_obstacle(tmp_path: Path) -> None:
    before = {"AcquisitionTime": "235950"}
    after = {"AcquisitionTime": "000110", "AcquisitionDate": "20240201"}
    plans = [Plan(number=n, description="t1 dyn") for n in (5, 6)]
    write_series(tmp_path, plans[0].with_tags(**before), plans[1].with_tags(**after))
    pair = choose(tmp_path)
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert pair.post.time_s == 80.0


# -- site rules ----------------------------------------------------------------


def rules_from(folder: Path, text: str) -> DceRules:
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return read_rules(path)


def test_a_file_without_the_table_gives_the_defaults(tmp_path: Path) -> None:
    assert rules_from(tmp_path, "[qc]\nstrict = true\n") == DceRules()


def test_every_rule_is_read(tmp_path: Path) -> None:
    text = """
    [dce]
    pre = "base"
    post = "run [1-9]"
    exclude = "research"
    pre_series = 5
    post_series = "1.2.3"
    pre_time = 2
    post_time = 3
    minimum_slices = 4
    minimum_width_mm = 200
    tolerance_mm = 0.5
    require_bilateral = true
    require_lossless = true
    """
    assert rules_from(tmp_path, text) == DceRules(
        pre="base",
        post="run [1-9]",
        exclude="research",
        pre_series="5",
        post_series="1.2.3",
        pre_time=2,
        post_time=3,
        minimum_slices=4,
        minimum_width_mm=200.0,
        tolerance_mm=0.5,
        require_bilateral=True,
        require_lossless=True,
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[dce]\nprae = 'x'", r"unknown keys \['prae'\]"),
        ("[dce]\npre = '('", "no regular expression"),
        ("[dce]\npre = 3", "pre = 3"),
        ("[dce]\nminimum_slices = '9'", "minimum_slices = '9'"),
        ("[dce]\nrequire_bilateral = 1", "require_bilateral = 1"),
        ("[dce]\ntolerance_mm = -1.0", "tolerance_mm = -1.0"),
        ("[dce]\npre_series = 5", "only one of the two series"),
        ("pre = 'x'", "keys outside a table"),
        ("[dce", "needed a readable TOML file"),
    ],
)
def test_a_wrong_rule_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        rules_from(tmp_path, text)


def test_a_missing_rule_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="readable TOML file"):
        read_rules(tmp_path / "none.toml")


def test_a_site_may_name_its_pre_and_post_series(tmp_path: Path) -> None:
    plans = [Plan(number=5 + i, phase=i, description=f"run {i}") for i in range(4)]
    write_series(tmp_path, *plans)
    pair = choose(tmp_path, DceRules(pre="run 1", post="run [23]"))
    assert chosen_series(pair) == (series_uid(6), series_uid(7))
    assert pair.reasons[-1].endswith("told by site rule")


def test_a_rule_may_name_a_derived_series_but_not_a_sagittal_one(
    tmp_path: Path,
) -> None:
    derived = {"ImageType": ["DERIVED", "PRIMARY", "M", "REG"]}
    moco = Plan(description="moco")
    write_pair(
        tmp_path,
        replace(moco, number=5).with_tags(**derived),
        replace(moco, number=6, phase=1).with_tags(**derived),
    )
    write_series(tmp_path, replace(moco, number=4, orientation=SAGITTAL))
    pair = choose(tmp_path, DceRules(pre="moco", post="moco"))
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert pair.ignored == {"sagittal": 12}


def test_a_site_may_exclude_series(tmp_path: Path) -> None:
    write_pair(tmp_path)
    write_series(tmp_path, post_plan(number=4, description="t1 research post"))
    pair = choose(tmp_path, DceRules(exclude="research"))
    assert chosen_series(pair) == (series_uid(5), series_uid(6))
    assert pair.ignored == {"excluded by site rule": 12}


@pytest.mark.parametrize("name", ["7", series_uid(7)])
def test_a_site_may_choose_series_outright(tmp_path: Path, name: str) -> None:
    write_pair(tmp_path)
    write_series(tmp_path, Plan(number=7, phase=2, description="t1 SUB"))
    pair = choose(tmp_path, DceRules(pre_series="5", post_series=name))
    assert chosen_series(pair) == (series_uid(5), series_uid(7))
    assert pair.confidence == 0.98


def test_a_site_may_choose_time_points(tmp_path: Path) -> None:
    write(one_series("trigger time"), tmp_path)
    rules = DceRules(pre_series="5", post_series="5", pre_time=2)
    assert uids_of(choose(tmp_path, rules).post) == frame_uids(Plan(phase=2))
    last = replace(rules, post_time=4)
    assert uids_of(choose(tmp_path, last).post) == frame_uids(Plan(phase=3))


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (DceRules(pre_series="5", post_series="9"), "0 usable series with number"),
        (DceRules(pre_series="5", post_series="7"), "different grids"),
        (DceRules(pre_series="5", post_series="8"), "sagittal"),
        (
            DceRules(pre_series="5", post_series="6", post_time=3),
            "1 usable time points",
        ),
        (DceRules(pre_series="5", post_series="6", minimum_slices=50), "12 slices"),
    ],
)
def test_a_choice_that_does_not_fit_is_refused(
    tmp_path: Path, rules: DceRules, found: str
) -> None:
    write_pair(tmp_path)
    write_series(tmp_path, post_plan(number=7, position_mm=(-150.0, -120.0, -30.0)))
    write_series(tmp_path, post_plan(number=8, orientation=(0, 1, 0, 0, 0, -1)))
    with pytest.raises(InputError, match=f"site rule: found .*{found}"):
        choose(tmp_path, rules)


def test_a_site_may_require_both_breasts(tmp_path: Path) -> None:
    write_pair(tmp_path, *FLAGGED["unilateral"])
    with pytest.raises(InputError, match="one-sided field of view"):
        choose(tmp_path, DceRules(require_bilateral=True))


def test_a_site_may_require_lossless_images(tmp_path: Path) -> None:
    write_pair(tmp_path, *FLAGGED["lossy"])
    with pytest.raises(InputError, match="lossy compressed images"):
        choose(tmp_path, DceRules(require_lossless=True))


def test_a_site_may_widen_the_tolerance(tmp_path: Path) -> None:
    def position(index: int) -> list[str]:
        return ["-160", "-120", f"{5 * index + 0.3 * (index % 2):.2f}"]

    for plan in (pre_plan(), post_plan()):
        jagged = change(slices(plan), ImagePositionPatient=position)
        write(jagged, tmp_path / f"{plan.number}")
    with pytest.raises(InputError, match="off an equal spacing"):
        choose(tmp_path)
    assert choose(tmp_path, DceRules(tolerance_mm=0.5)).flags == ()
