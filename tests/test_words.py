"""Series descriptions in many languages say pre, post, or nothing certain."""

import pytest

from plugin.reading.words import contrast_word, other_kind, stem


@pytest.mark.parametrize(
    "description",
    [
        "ax dyn pre",
        "t1_fl3d_tra_pre",
        "T1 PRECONTRAST",
        "1pre",
        "T1 3D ohne KM",
        "t1 vor Kontrastmittel",
        "T1 nativ",
        "T1 sans gado",
        "avant injection",
        "T1 sin contraste",
        "T1 senza mdc",
        "basale",
        "T1 zonder contrast",
        "blanco",
        "w/o contrast",
        "non-contrast T1",
        "unenhanced",
        "T1 bez kontrastu",
        "T1 utan kontrast",
        "T1 до контраста",
        "T1 造影前",
        "T1 平扫",
    ],
)
def test_words_for_before_contrast(description: str) -> None:
    assert contrast_word(description) == "pre"


@pytest.mark.parametrize(
    "description",
    [
        "ax dyn post 1",
        "t1_fl3d_tra_post_3",
        "ax dyn 1st pass",
        "T1 nach KM",
        "T1 +KM",
        "T1 apres injection",
        "T1 après gado",
        "T1 con contraste",
        "dopo mdc",
        "T1 met contrast",
        "T1 C+",
        "AX T1 +C",
        "AX T1 GD",
        "T1 delayed",
        "T1 po kontrastu",
        "T1 после контраста",
        "T1 造影後",
        "T1 增强",
    ],
)
def test_words_for_after_contrast(description: str) -> None:
    assert contrast_word(description) == "post"


@pytest.mark.parametrize(
    "description",
    [
        "",
        "t1_fl3d_tra",
        "t1_dyn pre post",
        "dyn 1pre+4post",
        "Ph1/ax 3d dyn",
        "t1 pre-sat",
        "prefat t1",
        "posture",
        "AX T1 no FS",
        "kmax",
    ],
)
def test_words_that_tell_nothing_certain(description: str) -> None:
    assert contrast_word(description) is None


def test_a_dynamic_series_may_be_named_after_its_agent() -> None:
    assert contrast_word("t1_dyn_KM", is_dynamic=True) is None
    assert contrast_word("t1_dyn_KM") == "post"
    assert contrast_word("t1_dyn_post_KM", is_dynamic=True) == "post"


@pytest.mark.parametrize(
    ("description", "kind"),
    [
        ("3 plane loc", "localiser"),
        ("localizer", "localiser"),
        ("Survey", "localiser"),
        ("t2_tse_tra", "T2-weighted"),
        ("STIR", "T2-weighted"),
        ("ep2d_diff_b800", "diffusion"),
        ("dDWI ADC", "diffusion"),
        ("t1_dyn_SUB", "subtraction"),
        ("sub1", "subtraction"),
        ("Subtraktion 2", "subtraction"),
        ("t1_dyn_MIP_cor", "projection"),
        ("MPR tra", "reformatted"),
        ("Wash-in map", "map"),
        ("care bolus", "bolus timing"),
        ("dixon_F", "fat or opposed-phase image"),
        ("t1_dixon_opp", "fat or opposed-phase image"),
    ],
)
def test_series_that_are_no_dce_phase(description: str, kind: str) -> None:
    assert other_kind(description) == kind


@pytest.mark.parametrize(
    "description",
    [
        "t1_fl3d_tra pre",
        "subject 3",
        "dyn eTHRIVE",
        "t1_dixon_W",
        "location test",
        "ax T1",
    ],
)
def test_series_that_could_be_a_phase(description: str) -> None:
    assert other_kind(description) == ""


def test_a_stem_is_what_phases_of_one_protocol_share() -> None:
    names = ["ax dyn pre", "ax dyn 1st pass", "AX DYN post 2", "Ph3/ax dyn"]
    assert {stem(name) for name in names} == {"axdyn"}
    assert stem("ax dyn nofs") != stem("ax dyn")
