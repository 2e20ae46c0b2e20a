"""Which PACS a URI names, and which of its studies are sessions."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from plugin.archive import open_archive
from plugin.errors import ArchiveError, ConfigError
from plugin.pacs.studies import ROUND, list_studies
from plugin.pacs.target import EVERYWHERE, Doorstep, Selection, parse_target
from plugin.sending.query import Found

STATE = {"BRS_STATE": "/state"}
URI = "dicom://PACS@pacs.example.org:104"
TLS = {
    "BRS_DICOM_TLS_CERT": "/c.crt",
    "BRS_DICOM_TLS_KEY": "/c.key",
    "BRS_DICOM_TLS_CA": "/ca.crt",
}


def test_a_uri_names_title_host_and_port() -> None:
    target = parse_target(URI, STATE)
    assert str(target.peer) == "PACS at pacs.example.org:104"
    assert (target.calling_ae, target.state) == ("BRS", Path("/state"))
    assert (target.doorstep, target.peer.tls) == (None, None)
    assert target.selection == Selection()


def test_variables_name_ourselves_our_port_and_tls() -> None:
    given_ = {"BRS_AE_TITLE": "LAB", "BRS_DICOM_PORT": "11112"}
    target = parse_target(URI, STATE | TLS | given_)
    assert target.calling_ae == "LAB"
    assert target.doorstep == Doorstep(11112, EVERYWHERE)
    assert target.peer.tls is not None
    assert target.peer.tls.check_host
    tls = parse_target(URI, STATE | TLS | {"BRS_DICOM_TLS_HOST": "any"}).peer.tls
    assert tls is not None
    assert not tls.check_host


def test_a_uri_selects_by_date_and_description() -> None:
    uri = URI + "?from=20240131&to=20241231&description=*MAMMA*%20dyn"
    assert parse_target(uri, STATE).selection == Selection(
        date(2024, 1, 31), date(2024, 12, 31), "*MAMMA* dyn"
    )


def test_a_title_with_a_space_and_an_address_of_six() -> None:
    peer = parse_target("dicom://MY%20PACS@[::1]:104", STATE).peer
    assert (peer.ae_title, peer.host) == ("MY PACS", "::1")


def test_an_option_beats_the_variable() -> None:
    assert parse_target(URI, STATE, Path("/other")).state == Path("/other")


@pytest.mark.parametrize(
    "uri",
    [
        "dicom://pacs.example.org:104",
        "dicom://PACS@pacs.example.org",
        "dicom://PACS@:104",
        "dicom://PACS@host:0",
        "dicom://PACS@host:70000",
        "dicom://PACS:secret@host:104",
        "dicom://PACS@host:104/project",
        "dicom://SEVENTEEN-LETTERS@host:104",
        URI + "?from=yesterday",
        URI + "?patient=X",
    ],
)
def test_another_uri_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError):
        open_archive(uri, STATE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BRS_DICOM_PORT", "http"),
        ("BRS_DICOM_PORT", "0"),
        ("BRS_AE_TITLE", "SEVENTEEN-LETTERS"),
        ("BRS_DICOM_TLS_HOST", "no"),
        ("BRS_DICOM_TLS_KEY", ""),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}|AE title"):
        parse_target(URI, STATE | TLS | {name: value})


def test_without_a_state_folder_nothing_is_opened_and_the_reason_is_said() -> None:
    with pytest.raises(ConfigError, match="a PACS keeps images and masks, but no"):
        open_archive(URI, {})


class CuttingPeer:
    """A PACS that gives at most ``limit`` studies, and may keep quiet about it."""

    def __init__(
        self, studies: Mapping[str, date | None], limit: int, *, says: bool
    ) -> None:
        self.studies, self.limit, self.says = studies, limit, says
        self.queries = 0

    def __call__(self, level: str, keys: Mapping[str, str]) -> Found:
        assert level == "STUDY"
        self.queries += 1
        rows = [row(uid) for uid in self._matches(keys["StudyDate"])]
        is_whole = len(rows) <= self.limit or not self.says
        return Found(tuple(rows[: self.limit]), is_whole=is_whole)

    def _matches(self, wanted: str) -> Iterator[str]:
        first, _, last = wanted.partition("-")
        for uid, day in sorted(self.studies.items()):
            text = day.strftime("%Y%m%d") if day else ""
            if not wanted or (text and first <= text <= (last or "99999999")):
                yield uid


def row(uid: str, description: str = "MR Mamma", modalities: str = "MR") -> Dataset:
    found = Dataset()
    found.StudyInstanceUID = uid
    found.StudyDescription = description
    found.ModalitiesInStudy = modalities.split("\\")
    return found


@given(
    days=st.lists(
        st.dates(date(1970, 1, 1), date(2026, 12, 31)), max_size=60, unique=True
    ),
    limit=st.integers(1, 20),
)
def test_a_peer_that_says_it_cuts_is_asked_in_parts_until_all_is_there(
    days: list[date], limit: int
) -> None:
    studies = {f"1.2.{n + 1}": day for n, day in enumerate(days)}
    peer = CuttingPeer(studies, limit, says=True)
    assert list_studies(peer, Selection()) == sorted(studies)


def test_a_peer_that_cuts_in_silence_at_a_round_number_is_found_out() -> None:
    start = date(2020, 1, 1)
    studies = {f"1.2.{n + 1}": start + timedelta(n) for n in range(2 * ROUND + 50)}
    peer = CuttingPeer(studies, ROUND, says=False)
    assert list_studies(peer, Selection()) == sorted(studies)
    # 250 at once give 100; so do halves until each holds fewer than 100.
    assert peer.queries > 3


def test_a_round_number_of_undated_studies_is_kept() -> None:
    studies: dict[str, date | None] = {f"1.2.{n + 1}": None for n in range(ROUND)}
    peer = CuttingPeer(studies, 10 * ROUND, says=True)
    assert list_studies(peer, Selection()) == sorted(studies)


def test_a_selection_asks_for_its_days_only() -> None:
    studies = {f"1.2.{n + 1}": date(2024, 1, 1 + n) for n in range(9)}
    peer = CuttingPeer(studies, 100, says=True)
    chosen = list_studies(peer, Selection(date(2024, 1, 3), date(2024, 1, 5)))
    assert chosen == ["1.2.3", "1.2.4", "1.2.5"]
    assert peer.queries == 1


def test_a_single_day_that_is_cut_is_an_error_and_never_half_a_list() -> None:
    studies = {f"1.2.{n + 1}": date(2024, 1, 1) for n in range(5)}
    with pytest.raises(ArchiveError, match="cut short for the single day 2024-01-01"):
        list_studies(CuttingPeer(studies, 4, says=True), Selection())


def answering(*rows: Dataset) -> Found:
    return Found(rows, is_whole=True)


@pytest.mark.parametrize(
    ("description", "is_breast"),
    [
        ("MR MAMMA dyn", True),
        ("Breast bilateral", True),
        ("IRM des seins", True),
        ("MRT Brust", True),
        ("乳腺MR", True),
        ("", True),
        ("MRI Brain", False),
        ("MR Knie", False),
    ],
)
def test_without_a_selection_breast_studies_are_taken_and_the_others_counted(
    description: str,
    caplog: pytest.LogCaptureFixture,
    *,
    is_breast: bool,
) -> None:
    found = answering(row("1.2.3", description))
    chosen = list_studies(lambda level, keys: found, Selection())
    assert chosen == (["1.2.3"] if is_breast else [])
    assert ("1 of 1 MR studies are not of the breast" in caplog.text) != is_breast


def test_a_selection_by_description_is_blind_to_case() -> None:
    found = answering(row("1.2.3", "MRI BRAIN"), row("1.2.4", "MR Mamma"))
    assert list_studies(lambda *_: found, Selection(description="*brain*")) == ["1.2.3"]
    assert len(list_studies(lambda *_: found, Selection(description="*"))) == 2


def test_studies_without_mr_are_none_also_where_the_peer_ignores_the_key() -> None:
    silent = row("1.2.5", modalities="")
    del silent.ModalitiesInStudy
    mute = row("1.2.6", modalities="")
    rows = (row("1.2.3", modalities="CT"), row("1.2.4", modalities="CT\\MR"))

    def ask(level: str, keys: Mapping[str, str]) -> Found:
        if level == "STUDY":
            return answering(*rows, silent, mute)
        series = Dataset()
        series.Modality = "MR" if keys["StudyInstanceUID"] == "1.2.5" else "CT"
        return answering(series)

    assert list_studies(ask, Selection()) == ["1.2.4", "1.2.5"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_what_is_no_uid_never_becomes_a_name() -> None:
    found = answering(row("1.2.3"), row("../../etc"))
    assert list_studies(lambda *_: found, Selection()) == ["1.2.3"]
