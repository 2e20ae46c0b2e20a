"""The documentation says what the program does: options, codes, columns, files."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import click
import pytest
from prometheus_client.parser import text_string_to_metric_families
from status_inputs import Service

from model.active_learning import (
    Delivered,
    LearnedMask,
    OnTest,
    Opening,
    RoundRecord,
)
from model.advice import Advice
from model.bag import BagFeatures, TouchRule
from model.calibration import Calibration
from model.carbon import CARBON_COLUMNS, DEVICE_COLUMNS
from model.cell_store import CellRecord
from model.checkpoint import Manifest
from model.effort import Effort, Minutes, Pace
from model.energy_log import EnergyLog
from model.evaluate import (
    CaseScore,
    Distribution,
    Origin,
    SliceCounts,
    SliceScore,
    Summary,
)
from model.experiment import Design
from model.fidelity import Fidelity
from model.progress import EpochRecord
from model.rank_change import rank_change
from model.ranking import Ranking
from model.selection import STRATEGIES
from model.study_files import (
    CELL_COLUMNS,
    COMPARISON_COLUMNS,
    SCORE_COLUMNS,
    TABLE_COLUMNS,
    Document,
)
from plugin.cli import cli
from plugin.errors import EXIT_CODES
from plugin.pipeline import SessionResult
from plugin.proofs import Subject
from plugin.provenance import MaskRecord, MaskState
from plugin.reading.flags import WEIGHTS
from plugin.rules import DceRules
from plugin.segment import VERDICTS, BatchItem

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
SOURCES = sorted([*ROOT.glob("plugin/**/*.py"), *ROOT.glob("model/**/*.py")])
COMMANDS = sorted(cli.commands)
PATH = re.compile(r"\b(?:plugin|model|tests|docs)/[\w./-]+\.(?:py|md|html|css)\b")
MODULE = re.compile(
    r"\b(plugin|model)\.(?:synthetic\.|reading\.|reports\.|commands\.)?([a-z_]+)\b"
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """Return what stands under the heading ``title``, up to the next one as high."""
    start = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert start, f"no heading '{title}'"
    rest = text[start.end() :]
    end = re.search(rf"^#{{1,{len(start[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def table_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def options(command: str) -> list[click.Option]:
    return [p for p in cli.commands[command].params if isinstance(p, click.Option)]


def row_of(option: click.Option, rows: Iterable[list[str]]) -> list[str]:
    names = {f"`{name}`" for name in (*option.opts, *option.secondary_opts)}
    found = [row for row in rows if set(row[0].split(" / ")) == names]
    assert len(found) == 1, f"{len(found)} rows for {sorted(names)}"
    return found[0]


def default_of(option: click.Option) -> str:
    if option.required:
        return "required"
    if option.is_flag:
        return "off"
    value = option.default
    return f"`{value}`" if isinstance(value, int | float | str | Path) else "none"


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def names_of(*kinds: type) -> list[str]:
    return [f.name for kind in kinds for f in fields(kind)]


def header_of(text: str) -> list[str]:
    return text.splitlines()[0].split(",")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_row_with_its_variable_and_default(command: str) -> None:
    rows = table_rows(section(read("reference/cli.md"), f"brs {command}"))
    for option in options(command):
        variable = f"`{option.envvar}`" if option.envvar else "none"
        assert row_of(option, rows)[1:3] == [variable, default_of(option)]
    assert len(rows) == len(options(command)), "a row without an option"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_choice_of_an_option_is_named(command: str) -> None:
    text = section(read("reference/cli.md"), f"brs {command}")
    kinds = [o.type for o in options(command) if isinstance(o.type, click.Choice)]
    missing = {f"`{c}`" for kind in kinds for c in kind.choices if f"`{c}`" not in text}
    assert not missing


def test_every_command_of_the_reference_exists() -> None:
    documented = re.findall(r"^## brs (\S+)$", read("reference/cli.md"), re.MULTILINE)
    assert sorted(documented) == COMMANDS


def test_global_options_are_documented() -> None:
    text = read("reference/cli.md")
    for parameter in cli.params:
        assert all(f"`{name}`" in text for name in parameter.opts)


def test_every_exit_code_has_a_row_and_a_remedy() -> None:
    rows = table_rows(section(read("reference/cli.md"), "Exit codes"))
    causes = {int(row[0].strip("`")): row[1] for row in rows}
    for kind, code in EXIT_CODES.items():
        assert causes[code].startswith(f"`{kind.__name__}`")
    remedies = re.findall(r"^### (\d+): ", read("how-to/troubleshoot.md"), re.MULTILINE)
    assert sorted(map(int, remedies)) == sorted(set(causes) - {0})


ROUND_KINDS = (LearnedMask, Effort, OnTest, Delivered, Minutes, Pace, Advice)
NO_RANKING = Ranking("bag", 0, "", "", (), ())
COLUMNS = {
    "`rank_change.csv`": header_of(rank_change(NO_RANKING, NO_RANKING).to_csv()),
    "`ranking.csv`": header_of(NO_RANKING.to_csv()),
    "`ranking.json`": ["format", *names_of(Ranking)],
    "`history.csv`": ["fold", *names_of(EpochRecord)],
    "`engines/NAME.json`": ["subject", "fidelity", *names_of(Subject, Fidelity)],
    "`carbon.csv`": CARBON_COLUMNS,
    "`devices.csv`": DEVICE_COLUMNS,
    "`checkpoint.safetensors` and `checkpoint.json`": names_of(Manifest),
    "`result.json`": names_of(SessionResult),
    "`batch.json`": names_of(BatchItem),
    "`mask.json`": names_of(MaskRecord),
    "`rounds/NNNN.open.json`": ["format", *names_of(Opening)],
    "`rounds/NNNN.json`": ["format", *names_of(RoundRecord, *ROUND_KINDS)],
    "`slices.csv`": names_of(SliceScore),
    "`cases.csv`": names_of(CaseScore),
    "`table.csv`": [
        n.removesuffix("_low").removesuffix("_high") for n in TABLE_COLUMNS
    ],
    "`comparisons.csv`": COMPARISON_COLUMNS,
    "`cells.csv`": CELL_COLUMNS,
    "`scores.csv`": SCORE_COLUMNS,
    "`cells/KEY/cell.json`": names_of(CellRecord, Calibration),
    "`experiment.json`": ["format", "caution", *names_of(Document, Design)],
    "`summary.json`": names_of(Summary, Origin, SliceCounts, Distribution),
}


@pytest.mark.parametrize("file", sorted(COLUMNS))
def test_every_column_and_key_of_a_file_is_explained(file: str) -> None:
    text = section(read("reference/outputs.md"), file)
    missing = [name for name in COLUMNS[file] if f"`{name}`" not in text]
    assert not missing


def test_every_column_of_the_power_log_is_explained(tmp_path: Path) -> None:
    log = tmp_path / "power.csv"
    with EnergyLog([], power_csv=log):
        pass
    text = section(read("reference/outputs.md"), "`fold-K.power.csv`")
    assert all(f"`{name}`" in text for name in header_of(log.read_text()))


def test_ranked_features_are_all_in_the_table_of_the_ranking() -> None:
    rows = table_rows(section(read("reference/outputs.md"), "`ranking.csv`"))
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert {*names_of(BagFeatures), *names_of(TouchRule)} - {"rule"} <= explained


def test_the_method_has_one_row_per_strategy() -> None:
    rows = table_rows(section(read("explanation/method.md"), "Strategies"))
    assert sorted(row[0].strip("`") for row in rows) == sorted(STRATEGIES)


def test_every_test_that_the_method_names_exists() -> None:
    text = section(read("explanation/method.md"), "What the public code gets wrong")
    named = set(re.findall(r"`(test_\w+)`", text))
    sources = "\n".join(p.read_text() for p in (ROOT / "tests").glob("test_*.py"))
    assert len(named) >= 9
    assert not {name for name in named if f"def {name}(" not in sources}


def test_every_site_rule_is_documented() -> None:
    text = section(read("how-to/recognise-your-series.md"), "The rules file")
    assert all(
        f"| `{name}`" in text or f", `{name}`" in text for name in names_of(DceRules)
    )


def test_every_flag_is_documented_with_its_factor() -> None:
    rows = table_rows(section(read("how-to/recognise-your-series.md"), "Flags"))
    assert {row[0].strip("`"): float(row[1]) for row in rows} == WEIGHTS


def test_mask_states_and_verdicts_are_documented() -> None:
    annotate, outputs = read("how-to/annotate.md"), read("reference/outputs.md")
    assert all(f"`{state}`" in annotate for state in MaskState)
    assert all(f"`{verdict}`" in outputs for verdict in VERDICTS)


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {re.split(r"[<>=]", d)[0] for d in project["project"]["dependencies"]}
    rows = table_rows(read("adr/0007-dependencies.md"))
    assert {row[0].strip("`") for row in rows} == names


def test_the_licence_is_the_one_that_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (name,) = project["project"]["license-files"]
    text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
    assert project["project"]["license"] == "Apache-2.0"
    assert text.startswith("Apache License Version 2.0")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if "://" in link:
            continue
        if not path.is_file() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    assert not broken


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {slug(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_the_tree_lists_exactly_the_modules_that_exist() -> None:
    tree = section(read("explanation/architecture.md"), "The tree")
    listed, folder = set(), ""
    for line in tree.partition("```text\n")[2].partition("```")[0].splitlines():
        name = line.split()[0]
        folder = name if not line.startswith(" ") else folder
        if name != "#" and name != folder:
            listed.add(f"{folder}{name}")
    files = {str(path.relative_to(ROOT)) for path in SOURCES}
    assert {name for name in listed if name.endswith(".py")} == {
        name for name in files if not name.endswith("__init__.py")
    }
    assert all((ROOT / name).exists() for name in listed)


@pytest.mark.parametrize(
    "page", [*PAGES, *SOURCES], ids=lambda p: str(p.relative_to(ROOT))
)
def test_every_file_that_is_mentioned_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = set(PATH.findall(text))
    if page.suffix == ".md":
        paths |= {f"{package}/{name}.py" for package, name in MODULE.findall(text)}
    assert not [path for path in sorted(paths) if not (ROOT / path).is_file()]


def test_every_address_and_every_metric_of_the_pages_is_documented(
    tmp_path: Path,
) -> None:
    page = read("reference/http.md")
    app = Service(tmp_path).app()
    shown = {str(r) for r in app.url_map.iter_rules() if r.endpoint != "static"}
    written = re.findall(r"`(/[a-z0-9./<>_]*)`", section(page, "Addresses"))
    assert shown == set(written)
    text = app.test_client().get("/metrics").get_data(as_text=True)
    names = {f.name for f in text_string_to_metric_families(text)}
    rows = table_rows(section(page, "Metrics"))
    present = {name for name in names if not name.endswith("_created")}
    assert present == {row[0].strip("`") for row in rows}
