import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from contrast import LEGIBLE, contrast
from report_inputs import (
    DEVICE,
    evaluated,
    findings,
    fold,
    history,
    measured,
    pool,
    preview,
    training_files,
    used,
)
from studies import findings as study_findings
from studies import noise, study

from model.evaluate import summarise
from model.figures import learning_curve
from model.rank_change import rank_change
from model.ranking import Candidate
from model.selection import rank
from plugin.report import (
    demo_report,
    evaluation_report,
    ranking_report,
    training_report,
)
from plugin.reports.evaluation import Evaluated
from plugin.reports.experiment import experiment_report
from plugin.reports.page import inline_svg
from plugin.reports.ranking import verdict
from plugin.reports.training import TrainedFold, read_fold

HOSTILE = "\"><script>alert(1)</script>'$x^2$&amp;"
NAMES = ("S-1", "S-2", "S-3", "S-4", "S-5", "S-6", HOSTILE)
VOID = {"meta", "link", "img", "br", "path", "image", "use"}

Attributes = Mapping[str, str | None]


class Seen(HTMLParser):
    """Every tag with its attributes, all text, and unbalanced tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Attributes]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if self.open and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def named(self, tag: str) -> list[Attributes]:
        return [attributes for found, attributes in self.tags if found == tag]


def ranking_page(path: Path) -> None:
    failures = {f"F-{at}": f"reason {at} <of> many" for at in range(30)}
    ranking, maps = pool(NAMES)
    before = replace(ranking, picks=ranking.picks[:1])
    change = rank_change(ranking, before)
    ranking_report(ranking, maps, failures=failures, path=path, change=change)


def training_page(path: Path) -> None:
    power = {HOSTILE: [(0.0, 1.0), (1.0, 2.0)]}
    hostile = TrainedFold(HOSTILE, history([0.5]), used(None), power)
    training_report([fold("a"), fold("b", energy_j=None), hostile], path=path)


def evaluation_page(path: Path) -> None:
    found = evaluated(NAMES)
    failed = Evaluated(found.slices, found.cases, found.summary, {"bad": "no mask"})
    evaluation_report(failed, path=path, previews={HOSTILE: preview(HOSTILE)})


def demo_page(path: Path) -> None:
    demo_report(path, findings(NAMES, annotated=5))


def experiment_page(path: Path) -> None:
    made = study(lambda strategy, share, seed, at: 0.8 + share / 10 + noise(at, seed))
    experiment_report(study_findings(made, failures={HOSTILE: "no mask"}), path=path)


PAGES = {
    make.__name__: make
    for make in (
        *(ranking_page, training_page, evaluation_page, demo_page),
        experiment_page,
    )
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages, each written once for all tests."""
    made = tmp_path_factory.mktemp("pages")
    for name, make in PAGES.items():
        make(made / name)
    return made


@pytest.fixture(params=PAGES)
def html(request: pytest.FixtureRequest, folder: Path) -> str:
    return (folder / str(request.param)).read_text()


@pytest.fixture
def ranked(folder: Path) -> Seen:
    return Seen((folder / "ranking_page").read_text())


@pytest.mark.parametrize("name", PAGES)
def test_equal_inputs_give_equal_bytes(name: str, folder: Path, tmp_path: Path) -> None:
    PAGES[name](tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (folder / name).read_bytes()


def test_a_page_runs_nothing_and_fetches_nothing(html: str) -> None:
    seen = Seen(html)
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in seen.tags}
    assert not [name for _, found in seen.tags for name in found if name[:2] == "on"]
    addresses = [
        found[name] or ""
        for _, found in seen.tags
        for name in ("src", "href", "srcset", "action")
        if name in found
    ]
    assert addresses
    assert all(a.startswith(("#", "data:")) for a in addresses)
    assert "://" not in html
    assert "@import" not in html


def test_tags_are_balanced_and_names_unique(html: str) -> None:
    seen = Seen(html)
    assert (seen.unbalanced, seen.open) == ([], [])
    names = [found["id"] for _, found in seen.tags if "id" in found]
    assert len(names) == len(set(names))
    inside = set(re.findall(r'(?:url\(|href=")#([^)"]+)', html))
    assert inside <= set(names)


def test_a_study_s_page_has_all_its_charts(folder: Path) -> None:
    page = (folder / "experiment_page").read_text()
    parts = dict(re.findall(r'<section id="(\w+)"(.*?)</section>', page, re.DOTALL))
    charts = {"curves": 1, "distributions": 5, "carbon": 2, "coverage": 3}
    assert {name: parts[name].count("<svg") for name in charts} == charts
    assert parts["predictions"].count("<img") == 1


def test_every_picture_is_described(html: str) -> None:
    seen = Seen(html)
    assert all(found.get("alt") for found in seen.named("img"))
    described = [f for _, f in seen.tags if f.get("role") == "img"]
    assert described or seen.named("img")
    assert all(found.get("aria-label") for found in described)


def test_a_page_can_be_read_aloud_in_order(html: str) -> None:
    seen = Seen(html)
    assert seen.named("html") == [{"lang": "en"}]
    assert len(seen.named("h1")) == len(seen.named("main")) == 1
    headings = [tag for tag, _ in seen.tags if re.fullmatch("h[1-6]", tag)]
    assert headings == ["h1"] + ["h2"] * (len(headings) - 1)
    assert len(seen.named("caption")) == len(seen.named("table"))
    assert all("scope" in found for found in seen.named("th"))


def test_every_page_says_what_it_is_not(html: str) -> None:
    assert "Not a medical device." in Seen(html).text


def test_a_chart_takes_every_colour_from_the_page(html: str) -> None:
    for drawing in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        assert not re.findall(r"(?:fill|stroke)(?:: |=\")#[0-9a-f]{6}", drawing)
        assert " style=" not in drawing


def test_a_hostile_name_stays_text(html: str) -> None:
    seen = Seen(html)
    assert not seen.named("script")
    assert HOSTILE in seen.text
    assert seen.unbalanced == []


def test_every_pick_is_listed_in_order_with_its_reason(ranked: Seen) -> None:
    rows = [row for row in ranked.rows if row[0].isdigit()]
    assert [row[:3] for row in rows] == [
        [str(pick.rank), pick.case_id, pick.reason] for pick in pool(NAMES)[0].picks
    ]


def test_every_failure_is_shown_with_its_reason(ranked: Seen) -> None:
    shown = dict(row for row in ranked.rows if row[0].startswith("F-"))
    assert shown == {f"F-{at}": f"reason {at} <of> many" for at in range(30)}
    assert "30 sessions were left out" in ranked.text


def test_each_row_tells_its_millimetres(tmp_path: Path) -> None:
    # First row 6 and 20 rows of 5 mm.
    features, overlay = measured(6, 20, confidence=0.31)
    ranking = rank([Candidate("S", "p", features)], strategy="random", seed=0)
    path = tmp_path / "report.html"
    ranking_report(ranking, {"S": overlay}, failures={}, path=path)
    seen = Seen(path.read_text())
    volume_ml = 10 * 2 * 10 * 20 * 5**2 * 4 // 1000
    assert seen.rows[1][3:] == ["30", "100", str(volume_ml), "low 0.31"]
    labels = [f.get("aria-label") for f in seen.named("svg")]
    assert "Overlay map of S: nearest point 30 mm, breast size 100 mm." in labels
    arrow, bar = (
        found["d"] or "" for found in seen.named("path") if "mark" in str(found)
    )
    assert arrow.startswith("M10 0V6m")
    assert bar.endswith("6V26")
    assert "Annotate the only session." in seen.text


def test_an_empty_pool_still_shows_its_failures(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    ranking_report(None, {}, failures={"S-1": "blank images"}, path=path)
    text = Seen(path.read_text()).text
    assert "No session could be ranked." in text
    assert "blank images" in text


def test_a_large_pool_marks_proportions_of_patients_and_counts_its_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugin.reports.maps.MOST_TILES", 4)
    path = tmp_path / "report.html"
    names = [f"S-{at:02}" for at in range(60)]
    ranking_report(*pool(names, patients=50), failures={}, path=path)
    seen = Seen(path.read_text())
    assert [row[0] for row in seen.rows if len(row) == 1] == [
        f"{share}% of the patients: {count} of 60 sessions"
        for share, count in ((10, 5), (20, 10), (30, 15), (40, 20))
    ]
    assert "Annotate the first 15 of 60 sessions." in seen.text
    assert "patient key" in seen.rows[0]
    assert f"{1:016x}" in seen.text
    assert len(seen.named("image")) == 4
    assert "Shown are 4 of 60." in seen.text


def test_a_small_pool_joins_its_proportions(ranked: Seen) -> None:
    breaks = [row[0] for row in ranked.rows if len(row) == 1]
    assert breaks == ["10% to 40% of the patients: 5 of 7 sessions"]


def test_patient_keys_are_left_out_where_no_patient_repeats(ranked: Seen) -> None:
    assert "patient key" not in ranked.rows[0]
    assert f"{1:016x}" not in ranked.text


def test_a_pool_below_five_patients_is_annotated_whole() -> None:
    assert verdict(pool(NAMES[:3])[0]).startswith("Annotate all 3 sessions")


def test_an_unknown_part_makes_the_cost_unknown_and_tells_the_known(
    folder: Path,
) -> None:
    text = Seen((folder / "training_page").read_text()).text
    assert "at an unknown cost" in text
    assert "at least 100 Wh" in text  # 3.6e5 J of the other fold
    assert "unknown for fold b: no readable meter" in text


def test_a_measured_training_tells_energy_method_and_factor(tmp_path: Path) -> None:
    path = tmp_path / "training.html"
    training_report([fold()], path=path)
    text = Seen(path.read_text()).text
    for part in (
        "Validation Dice 0.900, for 47.5 g CO₂.",
        "100 Wh",
        "0.475 kg CO₂ per kWh",
        "nvml-counter",
        "100% of the time",
        "10 min 0 s",
        DEVICE,
    ):
        assert part in text


@pytest.mark.parametrize("folds", [[], [TrainedFold("0", [], used(None))]])
def test_a_training_without_an_epoch_says_so(
    folds: list[TrainedFold], tmp_path: Path
) -> None:
    path = tmp_path / "training.html"
    training_report(folds, path=path)
    assert "No epoch was completed." in Seen(path.read_text()).text


def test_a_fold_is_read_from_its_files(tmp_path: Path) -> None:
    epochs, power = training_files(tmp_path)
    found = read_fold("2", used(None), history_csv=epochs, power_csv=power)
    assert [row.validation_loss for row in found.history] == [0.6, 0.4]
    assert [row.emitted_g for row in found.history] == [None, 1.25]
    assert found.power == {DEVICE: [(0.0, 300.0), (1.0, None)]}
    assert found.best == found.history[1]


def test_a_fold_without_files_has_no_epoch_and_no_power(tmp_path: Path) -> None:
    nowhere = tmp_path / "missing.csv"
    found = read_fold("0", used(None), history_csv=nowhere, power_csv=nowhere)
    assert (found.history, found.power, found.best) == ([], {}, None)


def test_an_evaluation_names_its_unit_its_data_and_its_engine(folder: Path) -> None:
    text = Seen((folder / "evaluation_page").read_text()).text
    dice = 2 * 18 / 38
    assert f"Mean Dice {dice:.3f} over 7 cases, {dice:.3f} on the worst." in text
    assert "Data: synthetic, one site. Engine: torch-cpu, fp32." in text
    assert "no mask" in text


def test_an_empty_evaluation_says_so(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.html"
    nothing = Evaluated([], [], summarise([], []), {"S-1": "no mask"})
    evaluation_report(nothing, path=path)
    text = Seen(path.read_text()).text
    assert "No session could be measured." in text
    assert "no mask" in text


def test_a_demo_is_marked_synthetic_and_holds_its_json_line(folder: Path) -> None:
    html = (folder / "demo_page").read_text()
    seen = Seen(html)
    assert "Synthetic data" in seen.text
    line = re.search(r"<pre[^>]*>(.*?)</pre>", html, re.DOTALL)
    assert line is not None
    shown = json.loads(Seen(line[1]).text)
    assert shown == {"cases": 7, "energy_kwh": "unknown", "test_dice_mean": 0.947}
    assert "The 5 sessions above were annotated." in seen.text
    assert "no usable pair" in seen.text
    assert len(seen.named("img")) == 2
    dice = 2 * 18 / 38
    assert (
        "5 of 8 cases were annotated. "
        f"Mean Dice {dice:.3f} over 2 unseen cases, {dice:.3f} on the worst."
    ) in seen.text


def test_text_contrasts_with_its_background_in_both_themes() -> None:
    style = (files("plugin") / "static" / "report.css").read_text()
    themes = [
        dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    assert len(themes) == 2
    for theme in themes:
        for text in ("--ink", "--muted", "--blue", "--orange", "--green", "--purple"):
            for behind in ("--surface", "--panel"):
                assert contrast(theme[text], theme[behind]) >= LEGIBLE, text
        assert contrast(theme["--banner-ink"], theme["--banner"]) >= LEGIBLE


def test_two_equal_charts_share_no_name() -> None:
    figures = [learning_curve(history([0.5, 0.2])) for _ in range(2)]
    one, two = (
        set(re.findall(r' id="([^"]+)"', inline_svg(figure, f"c{at}-")))
        for at, figure in enumerate(figures)
    )
    assert one
    assert not one & two
