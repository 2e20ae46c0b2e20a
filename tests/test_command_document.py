"""How command files are read, and how the lint says what it found."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from lint_inputs import GOOD, changed, errors, warnings

from plugin.command_lint import lint_file, lint_text
from plugin.commands.container import command_lint
from plugin.container.findings import Finding, error


def test_a_typo_is_named_before_everything_else() -> None:
    first = lint_text(changed(("naem", "x"), ("image", "")))[0]
    assert first == error(
        "unknown key 'naem': the service ignores it silently; did you mean 'name'?"
    )


def test_what_the_services_reader_tolerates_is_tolerated() -> None:
    loose = changed().replace('"WHO"', "'WHO'") + ' # the end, isn\'t "it"\n'
    assert lint_text(loose) == ()
    quoted = """{'name': 'it\\'s "x"', 'image': 'a:1' # note\n}"""
    assert any("""'it's "x"'""" in message for message in warnings(quoted))
    numbers = changed(("shm-size", "64"), ("inputs.0.default-value", 3))
    assert lint_text(numbers) == ()


def test_a_hash_or_quote_inside_a_text_is_no_comment() -> None:
    assert lint_text(changed(("description", "a # b 'c' // d"))) == ()


def test_a_key_given_twice_is_a_warning() -> None:
    text = changed().replace('"name": "demo"', '"name": "x", "name": "demo"')
    assert warnings(text) == ["key 'name' is given 2 times: last wins"]


def test_a_list_is_accepted_and_says_whose_finding_it_is() -> None:
    other = json.loads(changed(("name", "other"), ("gpus", "all")))
    text = json.dumps([GOOD, other])
    assert warnings(text) == [
        "command 'other': gpus is used by no engine: use generic-resources and runtime"
    ]


def test_two_commands_of_one_name_image_and_version_are_an_error() -> None:
    found = errors(json.dumps([GOOD, GOOD]))
    assert any("only the first is stored" in message for message in found)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "[{}, 4]", "NaN", "[" * 100_000, '{"name": }']
)
def test_a_file_without_commands_is_an_error(text: str) -> None:
    assert errors(text)


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "command.json"
    path.write_bytes(b"\xff\xfe")
    assert lint_file(path) == (error("is not UTF-8"),)
    assert lint_file(tmp_path / "none.json")[0].severity == "error"


WORDS = [*GOOD, *GOOD["xnat"][0], "select-values", "default-value", "secrets", "type"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(WORDS), ANYTHING))
def test_any_json_is_read_to_the_end(document: dict[str, Any]) -> None:
    for finding in lint_text(json.dumps(document)):
        line = finding.line("x")
        assert line.isprintable() or not line.isascii()
        assert "\n" not in line


@given(st.text(st.sampled_from("{}[]\"'\\#:,a1 \n")))
def test_any_text_is_read_to_the_end(text: str) -> None:
    assert isinstance(lint_text(text), tuple)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(
        click.Group(commands=[command_lint]),
        ["command-lint", *map(str, arguments)],
        standalone_mode=False,
    )


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "command.json"
    path.write_text(text)
    return path


def test_findings_are_lines_and_the_last_line_is_json(tmp_path: Path) -> None:
    path = written(tmp_path, changed(("gpus", "all"), ("image", "")))
    outcome = run(path)
    *lines, last = outcome.stdout.splitlines()
    assert lines[0] == f"error: {path}: the command has no image"
    assert lines[1].startswith(f"warning: {path}: gpus")
    assert json.loads(last) == {"errors": 1, "warnings": 1}
    assert outcome.return_value == 8


def test_warnings_alone_end_well(tmp_path: Path) -> None:
    outcome = run(written(tmp_path, changed(("gpus", "all"))))
    assert outcome.return_value != 8
    assert json.loads(outcome.stdout.splitlines()[-1]) == {"errors": 0, "warnings": 1}


def test_the_label_is_alone_on_stdout(tmp_path: Path) -> None:
    path = written(tmp_path, changed(("gpus", "all")))
    outcome = run(path, "--label", "value")
    assert json.loads(outcome.stdout) == [json.loads(path.read_text())]
    assert "gpus" in outcome.stderr


def test_no_label_is_made_of_a_wrong_command(tmp_path: Path) -> None:
    outcome = run(written(tmp_path, changed(("image", ""))), "--label", "value")
    assert outcome.return_value == 8
    assert json.loads(outcome.stdout) == {"errors": 1, "warnings": 0}


def test_a_finding_is_one_printable_line() -> None:
    line = Finding("error", "a\nb \ud800").line("f")
    assert line == "error: f: a b \\ud800"
