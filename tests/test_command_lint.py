"""The lint of command files: each rule of the service, and each surprise."""

import copy
import json
from typing import Any

import pytest
from lint_inputs import (
    DERIVED,
    GOOD,
    HANDLER,
    INPUT,
    ON_HANDLER,
    SECOND,
    SECRET,
    UNUSED,
    changed,
    errors,
    warnings,
)
from standin.command_rules import problems

from plugin.command_lint import lint_text


def test_a_good_command_has_no_finding() -> None:
    assert lint_text(changed()) == ()


COMMAND_CASES: list[tuple[tuple[str, Any], str]] = [
    (("name", " "), "the command has no name"),
    (("image", ""), "the command has no image"),
    (("image", "site.example:5000/demo"), "has no tag"),
    (("type", "docker-swarm"), "type 'docker-swarm' is unknown"),
    (("visibility", "secret"), "visibility 'secret' is unknown"),
    (("ulimits", {"nofile": "1:2:3"}), "ulimit 'nofile' is '1:2:3'"),
    (("ulimits", {"nofile": ""}), "ulimit 'nofile'"),
    (("mounts.0", {"path": "/x"}), "a mount has no name"),
    (("mounts.0", {"name": "third"}), "mount 'third' has no path"),
    (("mounts.0", {"name": "in", "path": "/x"}), "mount 'in' is declared twice"),
    (("inputs.0.name", ""), "input has no name"),
    (("inputs.0.name", "le vel"), "only letters, digits, _ and - may name it"),
    (("inputs.0.multiple-delimiter", "tab"), "multiple-delimiter 'tab'"),
    (("inputs.0", {"name": "mode"}), "input 'mode' is declared twice"),
    (("inputs.0.type", "select-one"), "select-one without select-values"),
    (("inputs.0.select-values", ["1"]), "select-values but is no select type"),
    (("inputs.1.default-value", ""), "default '' is not among its select-values"),
    (("inputs.1.default-value", "c"), "default 'c' is not among"),
    (("outputs.0.name", ""), "output has no name"),
    (("outputs.0.name", "a b"), "only letters, digits, _ and - may name it"),
    (("outputs.0.mount", ""), "output 'files' has no mount"),
    (("outputs.0.mount", "away"), "of the unknown mount 'away'"),
    (("outputs.0", {"name": "files", "mount": "out"}), "'files' is declared twice"),
    (("xnat.0.name", ""), "a wrapper has no name"),
]


@pytest.mark.parametrize(("edit", "message"), COMMAND_CASES)
def test_the_services_rules_for_a_command_are_errors(
    edit: tuple[str, Any], message: str
) -> None:
    assert [found for found in errors(changed(edit)) if message in found]


WRAPPER_CASES: list[tuple[tuple[str, Any], str]] = [
    ((f"{INPUT}.name", "se ssion"), "only letters, digits, _ and - may name it"),
    ((f"{INPUT}.name", ""), "input has no name"),
    ((f"{INPUT}.type", "Sesion"), "type 'Sesion'"),
    ((f"{DERIVED}.via-setup-command", "a/b:1"), "feeds no command mount"),
    ((f"{DERIVED}.name", "session"), "'session' is declared twice"),
    ((f"{SECOND}.provides-value-for-command-input", "mode"), "select input 'mode'"),
    ((f"{DERIVED}.derived-from-wrapper-input", ""), "no derived-from-wrapper"),
    ((f"{DERIVED}.derived-from-wrapper-input", "place"), "derived from itself"),
    ((f"{DERIVED}.derived-from-wrapper-input", "depth"), "not declared before it"),
    ((f"{DERIVED}.multiple", True), "multiple and must provide a value"),
    (
        (f"{HANDLER}.accepts-command-output", ""),
        "output handler 'keep' accepts no output",
    ),
    ((f"{HANDLER}.accepts-command-output", "file"), "unknown output 'file'"),
    ((f"{HANDLER}.name", ""), "output handler has no name"),
    ((f"{HANDLER}.name", "a b"), "only letters, digits, _ and - may name it"),
    ((f"{HANDLER}.as-a-child-of", ""), "has no as-a-child-of"),
    ((f"{HANDLER}.as-a-child-of", "scan"), "'scan' is neither an input"),
    ((f"{HANDLER}.as-a-child-of", "place"), "'place' holds a property, no uri"),
    ((f"{HANDLER}.type", "Folder"), "type 'Folder'"),
    ((f"{HANDLER}.label", " "), "makes a resource without label"),
    (("xnat.0.output-handlers", []), "output 'files' has no handler"),
    (
        ("xnat.0.output-handlers.0", GOOD["xnat"][0]["output-handlers"][0]),
        "output handler 'keep' is declared twice",
    ),
    (("xnat.0", GOOD["xnat"][0]), "wrapper 'on-session' is declared twice"),
]


@pytest.mark.parametrize(("edit", "message"), WRAPPER_CASES)
def test_the_services_rules_for_a_wrapper_are_errors(
    edit: tuple[str, Any], message: str
) -> None:
    assert [found for found in errors(changed(edit)) if message in found]


@pytest.mark.parametrize(("edit", "_"), [*COMMAND_CASES, *WRAPPER_CASES])
def test_the_stand_in_server_refuses_the_same(edit: tuple[str, Any], _: str) -> None:
    assert problems(json.loads(changed(edit)))


def test_a_multiple_input_feeds_no_mount_and_takes_no_output() -> None:
    found = errors(
        changed(
            (f"{SECOND}.multiple", True),
            (f"{SECOND}.provides-files-for-command-mount", "in"),
            (f"{HANDLER}.as-a-child-of", "depth"),
        )
    )
    assert any("multiple and cannot feed a mount" in message for message in found)
    assert any("'depth' is multiple" in message for message in found)


def test_a_setup_command_declares_nothing() -> None:
    found = errors(changed(("type", "docker-setup"), ("secrets", [SECRET])))
    for what in ("mounts", "inputs", "outputs", "wrappers", "environment", "secrets"):
        assert any(f"cannot declare {what}" in message for message in found), what


@pytest.mark.parametrize(
    ("variable", "message"),
    [("XNAT_PASS", "the service sets that variable"), ("WHO", "has it too")],
)
def test_a_secret_takes_no_variable_that_is_taken(variable: str, message: str) -> None:
    secret = copy.deepcopy(SECRET)
    secret["destination"]["identifier"] = variable
    assert [m for m in errors(changed(("secrets", [secret]))) if message in m]


@pytest.mark.parametrize(
    ("default", "accepted"), [('["a","b"]', True), ('["a","c"]', False), ("c", False)]
)
def test_a_default_of_a_select_many_is_a_list(default: str, accepted: bool) -> None:  # noqa: FBT001
    text = changed(
        ("inputs.1.type", "select-many"), ("inputs.1.default-value", default)
    )
    assert (not errors(text)) is accepted


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("comand-line", "x"), "unknown key 'comand-line'"),
        ((f"{INPUT}.load-childs", False), "did you mean 'load-children'?"),
        (("swarm-constraints", []), "unknown key 'swarm-constraints'"),
        (("mounts", {"name": "in"}), "'mounts': a list is needed"),
        (("mounts.0", "in"), "'mounts': an object is needed"),
        (("shm-size", "2g"), "'shm-size': a number is needed"),
        (("limit-cpu", True), "'limit-cpu': a number is needed"),
        (("mounts.0", {"name": "n", "path": ["/x"]}), "a text is needed"),
        (("override-entrypoint", "maybe"), "true or false is needed"),
        (("environment-variables", ["A=b"]), "an object of texts is needed"),
    ],
)
def test_what_the_service_ignores_or_cannot_read_is_an_error(
    edit: tuple[str, Any], message: str
) -> None:
    assert [found for found in errors(changed(edit)) if message in found]


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([("xnat.0.output-handlers.1", ON_HANDLER)], "only a Resource on an Assessor"),
        (
            [(f"{SECOND}.provides-value-for-command-input", "levl")],
            "provides the unknown input 'levl'",
        ),
        (
            [(f"{INPUT}.provides-files-for-command-mount", "inn")],
            "feeds the unknown mount 'inn'",
        ),
        ([(f"{INPUT}.type", "Subject")], "a Subject cannot feed a mount"),
        ([("inputs.0.default-value", "a;b")], "a value with ';' fails the launch"),
        ([("inputs.1.select-values.0", "a (b)")], "a value with '(' fails"),
        ([(f"{DERIVED}.default-value", "`x`")], "a value with '`' fails the launch"),
        ([(f"{DERIVED}.type", "Resource"), (f"{INPUT}.type", "File")], "no Resource"),
        ([(f"{DERIVED}.type", "boolean")], "no boolean comes from a Session"),
        (
            [(f"{DERIVED}.derived-from-xnat-object-property", "")],
            "gets no value, and the launch fails",
        ),
        ([(f"{DERIVED}.replacement-key", "#where#")], "no input has the key #place#"),
        ([("inputs.0.replacement-key", "mode")], "mode is part of key #mode#"),
        ([("inputs.0.replacement-key", "#mode#")], "share the key #mode#"),
        ([("command-line", "demo ^wrapper:$.label^")], "finds nothing"),
        ([("command-line", "demo ^$.name^ ^$.image^")], "more than one JSONPath"),
        ([("command-line", "x" * 2049)], "2049 characters"),
        ([("inputs.0.type", "text")], "input 'level': type 'text'"),
        ([("environment-variables.XNAT_HOST", "x")], "XNAT_HOST is the service's own"),
        ([("limit-memory", 1), ("reserve-memory", 2)], "below reserve-memory"),
        ([("outputs.0.mount", "in")], "is fed by an input and has outputs"),
    ],
)
def test_what_only_a_launch_would_show_is_an_error(
    edits: list[tuple[str, Any]], message: str
) -> None:
    assert [found for found in errors(changed(*edits)) if message in found]


def test_a_secret_of_another_kind_is_an_error() -> None:
    secret = {"source": {"type": "vault"}, "destination": {"type": "file"}}
    found = errors(changed(("secrets", [secret])))
    assert any("secret source 'vault'" in message for message in found)
    assert any("secret destination 'file'" in message for message in found)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("gpus", "all"), "gpus is used by no engine"),
        (("ipc-mode", "host"), "ipc-mode is lost"),
        (("auto-remove", True), "before its logs are read"),
        (("outputs.0.glob", "*.dcm"), "glob is ignored"),
        (("outputs.0.required", None), "say whether it is required"),
        (("outputs.0.path", ""), "all of its mount goes"),
        (("generic-resources", {"GPU": "1"}), "'GPU' is ignored on Kubernetes"),
        (("runtime", "nvidia"), "without NVIDIA_VISIBLE_DEVICES"),
        (("name", "My demo"), "older services on Kubernetes"),
        (("version", ""), "has no version"),
        (("command-line", "demo && rm #level#"), "no shell reads the command line"),
        (("xnat.0.derived-inputs.1", UNUSED), "'deep' goes nowhere"),
        (("inputs.0", {"name": "extra"}), "its key #extra# is used nowhere"),
        (("inputs.1.required", True), ""),
        (("xnat.0.description", ""), "the Run menu may leave it out"),
        (("xnat.0.contexts", []), "no menu shows it"),
        (("xnat.0.external-inputs.0", {"name": "who"}), "has 2 external inputs"),
        ((f"{INPUT}.type", "Project"), "set load-children to false"),
        ((f"{INPUT}.type", "Project"), "mounts the whole project"),
        (
            (f"{DERIVED}.derived-from-xnat-object-property", "label"),
            "a value with a parenthesis fails",
        ),
        ((f"{HANDLER}.type", "Assessor"), "has no xsi-type"),
        (("mounts.0", {"name": "third", "path": "/x"}), "is neither fed nor an output"),
        (("command-line", "demo #mode# #level#"), "unescaped"),
    ],
)
def test_a_surprise_is_a_warning(edit: tuple[str, Any], message: str) -> None:
    found = warnings(changed(edit))
    if message:
        assert [text for text in found if message in text]
    else:
        assert not found


def test_a_required_input_without_default_fails_an_automatic_launch() -> None:
    question = {"name": "level", "required": True}
    text = changed(("inputs", [GOOD["inputs"][1], question]))
    assert not warnings(text)
    provided = ("xnat.0.derived-inputs", [GOOD["xnat"][0]["derived-inputs"][0]])
    text = changed(("inputs", [GOOD["inputs"][1], question]), provided)
    assert any("automatic launch of on-session fails" in m for m in warnings(text))
