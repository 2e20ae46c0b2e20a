"""The settings of `brs serve`: one TOML file, and BRS_ variables that overrule it.

A variable is ``BRS_`` and the key at the top level, ``BRS_SECTION_KEY`` within a
section; empty is unset. ``BRS_CALLERS`` and ``BRS_DESTINATIONS`` take the place of the
two lists: ``PACS@10.0.0.7 ROUTER`` and ``pacs=PACS@pacs.example:104``.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_type_hints

from model.scope import SCOPES
from plugin.errors import ConfigError
from plugin.queue.policy import Policy
from plugin.receiving.landing import IMAGES
from plugin.receiving.settings import Caller, ListenerConfig, TlsFiles
from plugin.rules import DceRules, read_rules
from plugin.sending.destination import Destination
from plugin.service.suitability import UNSUITABLE
from plugin.service.tables import build, check_known, checked, parsed, wrong
from plugin.web.settings import TOKEN_VARIABLE, HttpConfig, read_token

PREFIX: Final = "BRS_"
CALLER: Final = re.compile(r"([^@]+)(?:@(.+))?")
DESTINATION: Final = re.compile(r"([^=]+)=([^@]+)@(.+):(\d+)")
MOST_WORKERS: Final = 64
CHOICES: Final = {
    "engine": ("auto", "openvino", "torch"),
    "precision": ("auto", "fp32", "bf16", "int8"),
    "scope": SCOPES,
}


@dataclass(frozen=True, slots=True)
class StudyPolicy:
    """When a study counts as complete, in seconds without a new image.

    Attributes
    ----------
    settle_s
        After this a pair that is there is worked on, if the sender has ended its
        associations in order.
    quiet_s
        After this no more is expected: a pair that is there is worked on, a study
        without one is parked. Also for a sender that broke off or stays connected.
    """

    settle_s: float = 15.0
    quiet_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.settle_s <= self.quiet_s < float("inf"):
            raise wrong(
                "study.settle_s, study.quiet_s",
                f"{self.settle_s:g} and {self.quiet_s:g}",
                "0 <= settle_s <= quiet_s",
            )


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """Everything that `brs serve` is told.

    Attributes
    ----------
    checkpoint
        Weights as in `brs segment --checkpoint`.
    archive
        URI of the project whose own checkpoint is used when none is given, and whose
        rounds and trainings the pages show.
    grace_s
        How long a stop waits for a running job before it is handed back.
    longest_job_s
        A worker that is longer at one job is ended, and the job counted as a crash.
    """

    work: Path
    listener: ListenerConfig
    destinations: tuple[Destination, ...] = ()
    http: HttpConfig | None = None
    study: StudyPolicy = field(default_factory=StudyPolicy)
    queue: Policy = field(default_factory=Policy)
    rules: DceRules = field(default_factory=DceRules)
    checkpoint: str | None = None
    archive: str | None = None
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    scope: str = "whole"
    workers: int = 1
    grace_s: float = 30.0
    longest_job_s: float = 3600.0

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= MOST_WORKERS:
            raise wrong("workers", str(self.workers), f"1 to {MOST_WORKERS}")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise wrong(
                    name, repr(getattr(self, name)), f"one of {', '.join(allowed)}"
                )
        if self.grace_s < 0 or self.longest_job_s <= 0:
            raise wrong("grace_s, longest_job_s", "less than nothing", "seconds")
        _check_destinations(self.destinations, self.listener)


@dataclass(frozen=True, slots=True)
class _Top:
    """The keys outside of all sections; ``rules`` is a file here."""

    work: Path
    rules: Path | None = None
    checkpoint: str | None = None
    archive: str | None = None
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    scope: str = "whole"
    workers: int = 1
    grace_s: float = 30.0
    longest_job_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class _Tables:
    """What the file and the variables say, before it is checked."""

    top: dict[str, Any]
    sections: dict[str, dict[str, Any]]
    lists: dict[str, list[Any]]


Hints = dict[str, Any]


def _hints(kind: type, *, without: tuple[str, ...] = ()) -> Hints:
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind) if f.name not in without}


TOP: Final = _hints(_Top)
SECTIONS: Final[dict[str, Hints]] = {
    "listen": _hints(ListenerConfig, without=("callers", "tls", "masks")),
    "tls": _hints(TlsFiles),
    "study": _hints(StudyPolicy),
    "queue": _hints(Policy, without=("images", "unsuitable")),
    "http": _hints(HttpConfig) | {"token_file": Path},
}
LISTS: Final = {"callers": Caller, "destinations": Destination}


def read_config(path: Path | None, environ: Mapping[str, str]) -> ServiceConfig:
    """Return the settings of a file, overruled by variables.

    Raises
    ------
    ConfigError
        If the file cannot be read, a key is unknown, or a value is wrong.
    """
    tables = _read(path) if path is not None else _Tables({}, {}, {})
    _overrule(tables, {k: v for k, v in environ.items() if v.strip()})
    top = build(_Top, tables.top, "")
    return ServiceConfig(
        work=top.work,
        listener=_listener(tables),
        destinations=_listed(tables, "destinations", Destination),
        http=_http(tables, environ),
        study=build(StudyPolicy, tables.sections.get("study", {}), "study."),
        queue=build(
            Policy,
            tables.sections.get("queue", {}),
            "queue.",
            images=IMAGES,
            unsuitable=UNSUITABLE,
        ),
        rules=read_rules(top.rules) if top.rules is not None else DceRules(),
        checkpoint=top.checkpoint,
        archive=top.archive,
        engine=top.engine,
        device=top.device,
        precision=top.precision,
        scope=top.scope,
        workers=top.workers,
        grace_s=top.grace_s,
        longest_job_s=top.longest_job_s,
    )


def _read(path: Path) -> _Tables:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            str(path),
            found=found,
            needed="a readable TOML file",
            mend="correct the file, or name another with --config",
        ) from error
    check_known(document, TOP | SECTIONS | LISTS, "")
    sections = {name: document[name] for name in SECTIONS if name in document}
    for name, table in sections.items():
        if not isinstance(table, dict):
            raise wrong(name, "no table", f"a section [{name}]")
        check_known(table, SECTIONS[name], f"{name}.")
    lists = {name: document[name] for name in LISTS if name in document}
    for name, rows in lists.items():
        if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
            raise wrong(name, "no list of tables", f"sections [[{name}]]")
    top = {name: document[name] for name in TOP if name in document}
    return _Tables(top, sections, lists)


def _overrule(tables: _Tables, environ: Mapping[str, str]) -> None:
    """Put the variables' values into the tables."""
    for key, hint in TOP.items():
        variable = PREFIX + key.upper()
        if variable in environ:
            tables.top[key] = parsed(hint, environ[variable], variable)
    for section, hints in SECTIONS.items():
        _overrule_section(tables, environ, section, hints)
    for name, read in (("callers", _caller_row), ("destinations", _destination_row)):
        text = environ.get(PREFIX + name.upper(), "")
        if text:
            tables.lists[name] = [read(word) for word in text.split()]


def _overrule_section(
    tables: _Tables, environ: Mapping[str, str], section: str, hints: Hints
) -> None:
    start = f"{PREFIX}{section.upper()}_"
    known = {start + key.upper(): key for key in hints}
    for variable, text in environ.items():
        if not variable.startswith(start) or variable == TOKEN_VARIABLE:
            continue
        check_known({variable: text}, known, "")
        key = known[variable]
        value = parsed(hints[key], text, variable)
        tables.sections.setdefault(section, {})[key] = value


def _caller_row(word: str) -> dict[str, Any]:
    match = CALLER.fullmatch(word)
    if match is None:
        raise wrong("BRS_CALLERS", repr(word), "AET, or AET@ADDRESS,ADDRESS")
    hosts = match[2].split(",") if match[2] else []
    return {"ae_title": match[1], "hosts": hosts}


def _destination_row(word: str) -> dict[str, Any]:
    match = DESTINATION.fullmatch(word)
    if match is None:
        raise wrong("BRS_DESTINATIONS", repr(word), "NAME=AET@HOST:PORT")
    name, title, host, port = match.groups()
    address = host.removeprefix("[").removesuffix("]")
    return {"name": name, "ae_title": title, "host": address, "port": int(port)}


def _listed(tables: _Tables, name: str, kind: type[Any]) -> tuple[Any, ...]:
    rows = tables.lists.get(name, [])
    return tuple(build(kind, row, f"{name}.") for row in rows)


def _listener(tables: _Tables) -> ListenerConfig:
    """Return the listener's settings; masks that come back are not kept."""
    tls = tables.sections.get("tls")
    return build(
        ListenerConfig,
        tables.sections.get("listen", {}),
        "listen.",
        callers=_listed(tables, "callers", Caller),
        tls=build(TlsFiles, tls, "tls.") if tls else None,
        masks=False,
    )


def _http(tables: _Tables, environ: Mapping[str, str]) -> HttpConfig | None:
    """Return the settings of the pages; None where no setting asks for them."""
    if "http" not in tables.sections:
        return None
    table = dict(tables.sections["http"])
    file = checked(Path | None, table.pop("token_file", ""), "http.token_file")
    if token := read_token(environ, file if file.name else None):
        table["token_sha256"] = token
    return build(HttpConfig, table, "http.")


def _check_destinations(
    destinations: tuple[Destination, ...], listener: ListenerConfig
) -> None:
    """Refuse names used twice, and sources that may not send at all."""
    names = [destination.name for destination in destinations]
    if twice := {name for name in names if names.count(name) > 1}:
        raise wrong("destinations.name", f"{sorted(twice)} twice", "different names")
    known = {caller.ae_title.strip() for caller in listener.callers}
    sources = {s.strip() for d in destinations for s in d.sources}
    if not listener.any_caller and sources - known:
        raise wrong(
            "destinations.sources",
            f"{sorted(sources - known)}, which may not send",
            f"AE titles of callers: {sorted(known)}",
        )
