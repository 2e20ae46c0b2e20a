"""command.json: what the Container Service would make of it, and the CLI reads."""

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from resolution import COMMAND, Resolution, Resolved, XnatObject

from model.selection import STRATEGIES
from plugin.cli import cli
from plugin.command_lint import lint_file, lint_text
from plugin.commands.container import command_lint, launch
from plugin.container.command import Command
from plugin.container.cpu_variant import cpu_variant, to_text
from plugin.container.image_label import LABEL, dockerfile_label, label_value
from plugin.container.launched import VERBS, refuse_left_overs, verb_of
from plugin.container.reader import read_command
from plugin.errors import ConfigError
from plugin.version import VERSION

CPU = COMMAND.with_name("command-cpu.json")
SESSION = XnatObject(
    "/archive/experiments/XNAT_E00001",
    Path("/archive/BREAST/arc001/MR1"),
    {"id": "XNAT_E00001", "label": "MR (1)", "project-id": "BREAST"},
)
PROJECT = XnatObject("/archive/projects/BREAST", Path("/archive"), {"id": "BREAST"})
ON_SESSION = ("segment", "review")

NOT_OFFERED = {
    *("BRS_RULES", "BRS_PRECISION", "BRS_SKIP_ANNOTATED", "BRS_DRY_RUN"),
    *("BRS_FOLD", "BRS_BATCH", "BRS_ACCUMULATE", "BRS_LEARNING_RATE", "BRS_SCHEDULE"),
    *("BRS_MIRROR", "BRS_COARSE_EPOCHS", "BRS_CALIBRATION_SLICES"),
    *("BRS_DETERMINISTIC", "BRS_EMISSION_FACTOR", "BRS_BACKBONE_WEIGHTS"),
    *("BRS_REFERENCE", "BRS_DATA", "BRS_STATE"),
    *("BRS_ENGINE", "BRS_CACHE", "BRS_SCOPE", "BRS_CLUSTER"),
}
"""Options that a launch leaves at their defaults: the form stays short."""


def raw(path: Path = COMMAND) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def command(path: Path = COMMAND) -> Command:
    return read_command(raw(path), [])


def resolved(wrapper: str, path: Path = COMMAND, **given: str) -> Resolved:
    target = SESSION if wrapper in ON_SESSION else PROJECT
    return Resolution(command(path), raw(path), wrapper, target).resolve(given)


def options(verb: str) -> dict[str, click.Option]:
    """Return a command's options by their variable."""
    return {
        str(option.envvar): option
        for option in cli.commands[verb].params
        if isinstance(option, click.Option) and option.envvar
    }


@pytest.mark.parametrize("path", [COMMAND, CPU], ids=lambda path: path.name)
def test_our_commands_have_no_finding(path: Path) -> None:
    assert lint_file(path) == ()


def test_both_commands_can_be_installed_on_one_server() -> None:
    assert lint_text(json.dumps([raw(), raw(CPU)])) == ()
    assert raw()["name"] != raw(CPU)["name"]
    assert raw()["image"] != raw(CPU)["image"]


def test_version_and_image_tag_are_the_packages() -> None:
    assert command().version == VERSION
    assert command().image.rpartition(":")[2] == VERSION


def test_the_cpu_file_is_made_from_the_other() -> None:
    assert CPU.read_text(encoding="utf-8") == to_text(cpu_variant(raw()))


def test_the_cpu_variant_asks_for_no_gpu_and_offers_none() -> None:
    cpu = command(CPU)
    assert not cpu.generic_resources
    assert not cpu.runtime
    assert not [name for name in cpu.environment_variables if "NVIDIA" in name]
    assert resolved("train", CPU).environment["BRS_DEVICE"] == "cpu"


def test_a_gpu_is_asked_of_every_engine() -> None:
    gpu = command()
    assert gpu.generic_resources == {"gpu": "1"}
    assert gpu.runtime == "nvidia"
    assert gpu.environment_variables["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert gpu.shm_size == 2 * 1024**3


def test_the_command_line_is_constant() -> None:
    assert {resolved(verb).command_line for verb in VERBS} == {"brs launch"}


def test_every_wrapper_is_a_command() -> None:
    assert {wrapper.name for wrapper in command().xnat} == set(VERBS)
    assert set(VERBS) <= set(cli.commands)


@pytest.mark.parametrize("verb", VERBS)
def test_every_template_is_resolved_for_every_wrapper(verb: str) -> None:
    environment = resolved(verb).environment
    refuse_left_overs(environment)
    assert environment["BRS_WRAPPER"] == verb
    assert environment["BRS_ARCHIVE"] == "xnat:BREAST"
    on_session = verb in ON_SESSION
    assert environment["BRS_SESSION"] == ("XNAT_E00001" if on_session else "")


def test_only_segment_sees_images_and_only_of_its_session() -> None:
    sources = {
        verb: {m.name: m.source for m in resolved(verb).mounts} for verb in VERBS
    }
    assert sources["segment"] == {"input": SESSION.directory, "output": None}
    others = [sources[verb]["input"] for verb in VERBS if verb != "segment"]
    assert others == [None] * 5


def test_only_the_results_folder_is_uploaded() -> None:
    (output,) = command().outputs
    mounts = {mount.name: mount.path for mount in command().mounts}
    environment = command().environment_variables
    uploaded = f"{mounts[output.mount]}/{output.path}"
    assert environment["BRS_OUTPUT"] == uploaded
    for other in ("BRS_WORK", "TMPDIR", "HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        inside = environment[other].startswith(mounts[output.mount])
        assert inside, other
        assert not environment[other].startswith(uploaded), other


@pytest.mark.parametrize("verb", VERBS)
def test_the_command_line_accepts_what_a_launch_gives(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("accept", "radiologist") if verb == "review" else ("undecided", "")
    asked = dict(zip(("decision", "role"), given, strict=True))
    for name, value in resolved(verb, COMMAND, **asked).environment.items():
        monkeypatch.setenv(name, value)
    with cli.commands[verb].make_context(verb, []) as context:
        assert context.params["archive"] == "xnat:BREAST"
        assert context.params["output"] == Path("/output/brs")


def test_an_undecided_review_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in resolved("review", role="radiologist").environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(click.BadParameter, match="undecided"):
        cli.commands["review"].make_context("review", [])


def test_every_variable_is_read_by_a_wrapper() -> None:
    read = {"BRS_WRAPPER"}.union(*(options(verb) for verb in VERBS))
    given = {n for n in command().environment_variables if n.startswith("BRS_")}
    assert given - read == set()


def test_every_option_of_a_wrapper_is_given_or_left_out_on_purpose() -> None:
    read = set[str]().union(*(options(verb) for verb in VERBS))
    assert read - set(command().environment_variables) == NOT_OFFERED


def test_the_form_offers_what_the_options_accept() -> None:
    asked = {entry.name: entry for entry in command().inputs}
    assert asked["strategy"].select_values == tuple(sorted(STRATEGIES))
    choices = options("review")["BRS_DECISION"].type
    assert isinstance(choices, click.Choice)
    assert asked["decision"].select_values == ("undecided", *choices.choices)


@pytest.mark.parametrize("name", ["strategy", "seed", "folds", "epochs"])
def test_the_form_shows_the_options_own_defaults(name: str) -> None:
    found = [
        o[f"BRS_{name.upper()}"]
        for o in map(options, ("rank", "train"))
        if f"BRS_{name.upper()}" in o
    ]
    asked = {entry.name: entry.default_value for entry in command().inputs}
    assert {str(option.default) for option in found} == {asked[name]}


def test_every_question_says_which_wrapper_reads_it() -> None:
    """The form of each wrapper shows all of them."""
    for entry in command().inputs:
        verbs, _, _ = entry.label.partition(":")
        variable = "BRS_" + entry.name.upper().replace("-", "_")
        named = {verb.strip().lower() for verb in verbs.split(",")}
        reads = {verb for verb in VERBS if variable in options(verb)}
        filled_in = {"segment", "review"} if entry.name == "session" else set()
        assert named == reads - filled_in, entry.name


def unescaped(instruction: str) -> str:
    """Read a Dockerfile's double-quoted text as its builder does."""
    quoted = instruction.removeprefix(f"LABEL {LABEL}=")
    match = re.fullmatch(r'"((?:[^"\\$]|\\.)*)"', quoted)
    assert match is not None, "a quote or $ is bare"
    return re.sub(r"\\(.)", r"\1", match[1])


def test_the_label_holds_the_command() -> None:
    assert json.loads(label_value([raw()])) == [raw()]
    assert json.loads(unescaped(dockerfile_label([raw()]))) == [raw()]


@given(st.text())
def test_any_text_survives_the_dockerfile(text: str) -> None:
    instruction = dockerfile_label([{"description": text}])
    assert "\n" not in instruction
    assert json.loads(unescaped(instruction)) == [{"description": text}]


def test_the_cpu_file_is_written_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "cpu.json"
    group = click.Group(commands=[command_lint])
    arguments = ["command-lint", "--write-cpu", str(path), str(COMMAND)]
    assert CliRunner().invoke(group, arguments).exit_code == 0
    assert path.read_bytes() == CPU.read_bytes()
    both = [*arguments, str(CPU)]
    assert "exactly one command" in CliRunner().invoke(group, both).output


@click.command()
@click.option("--seed", type=int, envvar="BRS_SEED")
def rank(seed: int | None) -> None:
    click.echo(f"ranked with {seed}")


LAUNCHING = click.Group("brs", commands=[launch, rank])


def test_launch_runs_the_command_that_the_wrapper_names() -> None:
    env = {"BRS_WRAPPER": "rank", "BRS_SEED": "7"}
    outcome = CliRunner().invoke(LAUNCHING, ["launch"], env=env)
    assert (outcome.exit_code, outcome.output) == (0, "ranked with 7\n")


def test_a_blank_variable_is_unset() -> None:
    env = {"BRS_WRAPPER": "rank", "BRS_SEED": ""}
    assert CliRunner().invoke(LAUNCHING, ["launch"], env=env).output == (
        "ranked with None\n"
    )


@pytest.mark.parametrize("wrapper", ["launch", "demo", "Rank", "^wrapper:$.name^"])
def test_launch_refuses_what_is_no_wrapper(wrapper: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(wrapper))):
        verb_of(wrapper)
    outcome = CliRunner().invoke(LAUNCHING, ["launch"], env={"BRS_WRAPPER": wrapper})
    assert isinstance(outcome.exception, ConfigError)


@pytest.mark.parametrize("left", ["#SESSION-ID#", "xnat:#PROJECT-ID#", "^$.version^"])
def test_launch_refuses_a_template_that_stayed(left: str) -> None:
    env = {"BRS_WRAPPER": "rank", "BRS_ARCHIVE": left}
    outcome = CliRunner().invoke(LAUNCHING, ["launch"], env=env)
    assert isinstance(outcome.exception, ConfigError)
    assert "BRS_ARCHIVE" in str(outcome.exception)


def test_a_template_in_somebody_elses_variable_is_no_concern_of_ours() -> None:
    refuse_left_overs({"PS1": "#x#", "BRS_ROLE": "no. 1 # ^", "BRS_SEED": "1"})
