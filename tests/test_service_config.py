"""The settings of the service: what a file and variables may say, and what not."""

from pathlib import Path

import pytest

from plugin.errors import ConfigError
from plugin.queue.policy import Policy
from plugin.receiving.settings import Caller, Others, TlsFiles
from plugin.sending.destination import ClientTls, Destination, Verify
from plugin.service.config import (
    SECTIONS,
    TOP,
    ServiceConfig,
    StudyPolicy,
    read_config,
)
from plugin.service.suitability import UNSUITABLE
from plugin.web.settings import digest

SMALL = """
work = "/var/lib/brs"
checkpoint = "/models/breast.safetensors"

[listen]
ae_title = "BRS"

[[callers]]
ae_title = "PACS"
"""
WHOLE = (
    SMALL.replace("[listen]", 'workers = 2\ndevice = "cuda:1"\n[listen]')
    + """
hosts = ["10.0.0.7", "10.1.0.0/24"]

[tls]
certificate = "/etc/brs/brs.crt"
key = "/etc/brs/brs.key"
authority = "/etc/brs/hospital.crt"

[study]
settle_s = 20

[queue]
attempts = 3
keep_done_s = 86400

[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "pacs.example"
port = 104
sources = ["PACS"]
verify = "none"

[destinations.tls]
certificate = "/etc/brs/brs.crt"
key = "/etc/brs/brs.key"
authority = "/etc/brs/hospital.crt"

[http]
port = 8081
"""
)


def config(
    folder: Path, text: str = SMALL, environ: dict[str, str] | None = None
) -> ServiceConfig:
    path = folder / "brs.toml"
    path.write_text(text)
    return read_config(path, environ or {})


def refusal(
    folder: Path, text: str = SMALL, environ: dict[str, str] | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        config(folder, text, environ)
    return str(caught.value)


def test_a_small_file_is_enough(tmp_path: Path) -> None:
    read = config(tmp_path)
    assert read.work == Path("/var/lib/brs")
    assert read.checkpoint == "/models/breast.safetensors"
    assert read.listener.ae_title == "BRS"
    assert read.listener.callers == (Caller("PACS"),)
    assert read.study == StudyPolicy()
    assert read.queue == Policy(unsuitable=UNSUITABLE)
    assert read.http is None
    assert (read.workers, read.device, read.precision) == (1, "auto", "auto")
    assert (read.engine, read.scope) == ("auto", "whole")


def test_masks_that_come_back_are_never_kept(tmp_path: Path) -> None:
    assert not config(tmp_path).listener.masks
    said = refusal(tmp_path, SMALL.replace("[listen]", "[listen]\nmasks = true"))
    assert "listen.masks: found an unknown key" in said


def test_every_section_says_what_it_says(tmp_path: Path) -> None:
    read = config(tmp_path, WHOLE)
    files = [
        Path(f"/etc/brs/{name}") for name in ("brs.crt", "brs.key", "hospital.crt")
    ]
    assert read.listener.callers == (Caller("PACS", ("10.0.0.7", "10.1.0.0/24")),)
    assert read.listener.tls == TlsFiles(*files)
    assert read.study == StudyPolicy(settle_s=20.0)
    assert read.queue == Policy(attempts=3, keep_done_s=86400.0, unsuitable=UNSUITABLE)
    assert read.destinations == (
        Destination(
            *("pacs", "PACS", "pacs.example", 104, ("PACS",), Verify.NONE),
            tls=ClientTls(files[0], files[1], files[2]),
        ),
    )
    assert read.http is not None
    assert read.http.port == 8081
    assert (read.workers, read.device) == (2, "cuda:1")


def test_variables_overrule_the_file_and_empty_ones_do_not(tmp_path: Path) -> None:
    environ = {
        "BRS_WORK": "/data",
        "BRS_WORKERS": "4",
        "BRS_LISTEN_PORT": "104",
        "BRS_LISTEN_OTHERS": "refuse",
        "BRS_STUDY_SETTLE_S": "7.5",
        "BRS_DEVICE": "",
        "BRS_ENGINE": "openvino",
        "BRS_SCOPE": "slices",
        "BRS_OUTPUT": "of another command",
    }
    read = config(tmp_path, WHOLE, environ)
    assert (read.work, read.workers, read.device) == (Path("/data"), 4, "cuda:1")
    assert (read.engine, read.scope) == ("openvino", "slices")
    assert (read.listener.port, read.listener.others) == (104, Others.REFUSE)
    assert read.study.settle_s == 7.5


def test_variables_alone_are_enough() -> None:
    environ = {
        "BRS_WORK": "/data",
        "BRS_LISTEN_AE_TITLE": "BRS",
        "BRS_CALLERS": "PACS@10.0.0.7,10.1.0.0/24 ROUTER",
        "BRS_DESTINATIONS": "pacs=PACS@10.0.0.7:104 research=ORTHANC@[fd00::7]:4242",
        "BRS_HTTP_PORT": "8090",
        "BRS_HTTP_TOKEN": "a token of twenty four",
    }
    read = read_config(None, environ)
    hosts = ("10.0.0.7", "10.1.0.0/24")
    assert read.listener.callers == (Caller("PACS", hosts), Caller("ROUTER"))
    assert read.destinations == (
        Destination("pacs", "PACS", "10.0.0.7", 104),
        Destination("research", "ORTHANC", "fd00::7", 4242),
    )
    assert read.http is not None
    assert read.http.port == 8090
    assert read.http.token_sha256 == digest("a token of twenty four")


def test_the_token_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a token of twenty four\n")
    read = config(tmp_path, f'{SMALL}\n[http]\ntoken_file = "{tmp_path / "token"}"')
    assert read.http is not None
    assert read.http.token_sha256 == digest("a token of twenty four")


def test_a_token_alone_opens_no_page(tmp_path: Path) -> None:
    assert config(tmp_path, environ={"BRS_HTTP_TOKEN": "x" * 24}).http is None


@pytest.mark.parametrize(
    ("change", "named", "known"),
    [
        ("wrok = 1\n", "wrok", "'workers'"),
        ("[lisen]\n", "lisen", "'listen'"),
        ("[study]\nsettle = 1\n", "study.settle", "'settle_s'"),
        ("[queue]\nunsuitable = []\n", "queue.unsuitable", "'attempts'"),
        ("[[callers]]\nae = 'X'\n", "callers.ae", "'ae_title'"),
        ("[[destinations]]\nhostname = 'X'\n", "destinations.hostname", "'host'"),
    ],
)
def test_an_unknown_key_is_named_beside_the_known_ones(
    tmp_path: Path, change: str, named: str, known: str
) -> None:
    said = refusal(tmp_path, change + SMALL if change[0] == "w" else SMALL + change)
    assert f"setting {named}: found an unknown key" in said
    assert known in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("[study]\nsettle_s = 'soon'", "study.settle_s: found 'soon'; needed a number"),
        ("[study]\nsettle_s = 400", "0 <= settle_s <= quiet_s"),
        ("[queue]\nattempts = 1.5", "queue.attempts: found 1.5; needed a whole number"),
        ("[queue]\nattempts = 0", "queue setting attempts"),
        ("[tls]\nkey = 'k'", "tls.certificate: found nothing; needed a path"),
        ("[[callers]]\nae_title = 'X'\nhosts = '1'", "callers.hosts: found '1'"),
        ("[[callers]]\nae_title = 'X'\nhosts = ['pacs']", "no IP address"),
        ("[[callers]]\nae_title = true", "callers.ae_title: found True; needed a text"),
        ("[http]\nport = '80'", "http.port: found '80'; needed a whole number"),
        ("[http]\nbehind_tls = 1", "http.behind_tls: found 1; needed true or false"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_needed(
    tmp_path: Path, change: str, said: str
) -> None:
    assert said in refusal(tmp_path, f"{SMALL}\n{change}\n")


def test_what_should_be_a_section_is_told(tmp_path: Path) -> None:
    assert "a section [study]" in refusal(tmp_path, f"study = 3\n{SMALL}")
    callers = SMALL.replace("[[callers]]", "[callers]")
    assert "sections [[callers]]" in refusal(tmp_path, callers)


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("BRS_WORKERS", "two", "BRS_WORKERS: found 'two'; needed a whole number"),
        ("BRS_WORKERS", "0", "workers: found 0; needed 1 to 64"),
        ("BRS_LISTEN_PROT", "1", "BRS_LISTEN_PROT: found an unknown key"),
        ("BRS_LISTEN_ANY_CALLER", "maybe", "needed 1 or 0"),
        ("BRS_LISTEN_OTHERS", "keep", "one of ['discard', 'refuse']"),
        ("BRS_CALLERS", "@10.0.0.7", "AET, or AET@ADDRESS,ADDRESS"),
        ("BRS_DESTINATIONS", "PACS@host", "NAME=AET@HOST:PORT"),
        ("BRS_DESTINATIONS", "a=A@h:1 a=B@h:2", "['a'] twice"),
        ("BRS_PRECISION", "half", "one of auto, fp32, bf16, int8"),
    ],
)
def test_a_wrong_variable_is_named(
    tmp_path: Path, variable: str, text: str, said: str
) -> None:
    assert said in refusal(tmp_path, environ={variable: text})


def test_without_a_work_folder_or_a_caller_nothing_starts(tmp_path: Path) -> None:
    assert "setting work: found nothing; needed a path" in refusal(tmp_path, "")
    alone = 'work = "/data"\n[listen]\nae_title = "BRS"'
    assert "no calling AE title" in refusal(tmp_path, alone)


def test_a_source_that_may_not_send_is_a_mistake(tmp_path: Path) -> None:
    wrong = WHOLE.replace('sources = ["PACS"]', 'sources = ["PACKS"]')
    assert "['PACKS'], which may not send" in refusal(tmp_path, wrong)


def test_a_file_that_is_no_toml_or_not_there_is_told(tmp_path: Path) -> None:
    assert "a readable TOML file" in refusal(tmp_path, "work = ")
    with pytest.raises(ConfigError, match="No such file"):
        read_config(tmp_path / "nothing.toml", {})


def test_no_variable_means_two_things() -> None:
    variables = [f"BRS_{key.upper()}" for key in TOP]
    for section, keys in SECTIONS.items():
        variables += [f"BRS_{section.upper()}_{key.upper()}" for key in keys]
    assert len(set(variables)) == len(variables)


@pytest.mark.parametrize(
    ("key", "known"),
    [("engine", "auto, openvino, torch"), ("scope", "whole, slices, breast")],
)
def test_what_is_none_of_the_choices_is_told_with_them(
    tmp_path: Path, key: str, known: str
) -> None:
    said = refusal(tmp_path, f"{key} = 'all'\n{SMALL}")
    assert f"{key}: found 'all'" in said
    assert known in said
