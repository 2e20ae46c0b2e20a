"""Rounds on an archive: four of them, killed, raced for, and with a twin planted."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from campaign import AGAIN, CONFIG, KNOWN, OPTIONS, TESTED, Site, make_small
from click.testing import CliRunner
from rounds import ROUND

from model.active_learning import Opening, RoundRecord
from model.advice import STOP
from model.checkpoint import Checkpoint, Manifest
from model.dataset import CaseStore
from model.errors import LeakageError
from model.network import new_network
from plugin.cli import cli
from plugin.errors import ArchiveError, ConfigError, MaskError, exit_code
from plugin.evaluate import evaluate_archive
from plugin.exchange import HUMAN_FILE
from plugin.gather import gather
from plugin.loop import Finished
from plugin.pipeline import SEG_FILE
from plugin.rounds import closing, delivering
from plugin.rounds.store import Rounds, keep_record, read_rounds
from plugin.rounds.timings import site_timings
from plugin.rules import DceRules
from plugin.web.training import read_training

ROUNDS = 4


class KilledError(BaseException):
    """Stands for the power cut."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


@pytest.fixture(scope="module")
def imaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imaged")
    Site.at(root).image()
    return root


@pytest.fixture(scope="module")
def annotated(imaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a site whose first round is open, with all its masks."""
    root = tmp_path_factory.mktemp("annotated") / "site"
    site = copied(imaged, root)
    waiting = site.opened()
    site.draw((*waiting.learn, *waiting.test))
    return root


def copied(source: Path, root: Path) -> Site:
    shutil.copytree(source, root, ignore=shutil.ignore_patterns("machine-*"))
    return Site.at(root)


@pytest.fixture
def site(annotated: Path, tmp_path: Path) -> Site:
    return copied(annotated, tmp_path / "site")


def checkpoint(site: Site) -> str:
    """Return the hash of the project's own weights."""
    manifest = site.archive.read(None, "checkpoint.json")
    return str(json.loads(manifest or b"{}").get("weights_sha256", ""))


def once(monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    """Kill the run that next comes to a function."""

    def dies(*_: object, **__: object) -> None:
        monkeypatch.undo()
        make_small(monkeypatch)
        raise KilledError

    monkeypatch.setattr(where, name, dies)


# a campaign


@pytest.mark.slow
def test_a_campaign_of_four_rounds_each_run_on_a_new_machine(
    imaged: Path, tmp_path: Path
) -> None:
    site = copied(imaged, tmp_path / "site")
    records = [one_round(site, number) for number in range(1, ROUNDS + 1)]
    assert site.run() == Finished(ROUNDS)
    kept = read_rounds(site.archive).records
    assert list(kept) == records
    check_sides(records)
    check_drafts(records)
    check_drawn(site, records[0])
    assert records[-1].advice.verdict == STOP
    rounds = read_training(site.archive).rounds
    assert [shown.number for shown in rounds] == [4, 3, 2, 1]
    assert rounds[0].facts["advice"] == STOP


def one_round(site: Site, number: int) -> RoundRecord:
    """Open a round, annotate (the last one by accepting the draft), and close it."""
    waiting = site.opened()
    assert site.opened() == waiting, "nothing changes while masks are missing"
    assert waiting.opening.number == number
    assert waiting.test == ((TESTED,) if number == 1 else ())
    site.draw(waiting.test)
    if number == ROUNDS:
        site.accept(*waiting.learn)
    else:
        site.draw(waiting.learn)
    record = site.closed()
    assert checkpoint(site) == record.checkpoint_sha256
    return record


def check_sides(records: list[RoundRecord]) -> None:
    """All are asked for once; who is tested is in no ranking and never learned from."""
    asked = [session for record in records for session in record.asked]
    assert sorted([KNOWN, *asked]) == ["P1", "P2", "P4", "P5", "P6"]
    for number, record in enumerate(records, start=1):
        learned = {mask.session for mask in record.masks}
        assert learned == {KNOWN, *asked[:number]}
        assert record.ranking.first == tuple(sorted({KNOWN, *asked[: number - 1]}))
        ranked = {candidate.case_id for candidate in record.ranking.candidates}
        assert not ranked & {TESTED, AGAIN}
        assert record.tested is not None
        assert set(record.tested.sessions) == {TESTED}
        assert record.patients == number + 1


def check_drafts(records: list[RoundRecord]) -> None:
    """From the second round on what was mended is the draft of the round before."""
    asked = [m for r in records for m in r.masks if m.session in r.asked]
    *before, _ = [record.checkpoint_sha256 for record in records]
    assert [mask.draft_weights_sha256 for mask in asked] == [None, *before]
    efforts = [mask.effort for mask in asked if mask.effort is not None]
    assert [effort.changed_mm is None for effort in efforts] == [True, *[False] * 3]
    assert asked[-1].state == "model-approved"
    assert asked[-1].reviewer_role == "radiologist"
    assert (efforts[-1].changed_mm, efforts[-1].draft_dice) == (0, 1)
    last = records[-1].minutes
    assert last.saved == pytest.approx(last.from_scratch), "nothing was drawn"
    assert records[0].minutes.saved == 0, "there was no draft"


def check_drawn(site: Site, first: RoundRecord) -> None:
    """Who is tested gets no draft; everyone else who is not annotated is drawn."""
    assert site.archive.read(TESTED, SEG_FILE) is None
    drawn = {*first.delivered.published, *first.delivered.review, *first.delivered.held}
    everyone = set(site.archive.sessions())
    assert drawn == everyone - {KNOWN, TESTED, *first.asked}
    assert first.footprints.keys() == {"ranking", "training", "prediction", "total"}


# killed, and gone on with by another machine


def test_a_killed_round_is_gone_on_with_and_trains_nothing_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    once(monkeypatch, delivering, "segment_each")
    with pytest.raises(KilledError):
        site.run()
    fold = site.archive.read(None, "fold-0.json")
    assert fold is not None
    assert not checkpoint(site), "weights without a record are not the project's"
    monkeypatch.setattr("plugin.fold_fit.fit", None)
    record = site.closed()
    assert record.checkpoint_sha256 == json.loads(fold)["weights_sha256"]
    assert site.archive.read(None, "fold-0.json") == fold


def test_a_record_without_its_checkpoint_is_completed_by_the_next_run(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    once(monkeypatch, closing, "keep_files")
    with pytest.raises(KilledError):
        site.run()
    assert not checkpoint(site)
    recorded = RoundRecord.from_json(site.files("rounds")["0001.json"])
    assert site.opened().opening.number == 2
    assert checkpoint(site) == recorded.checkpoint_sha256


# two runners


def test_the_second_to_record_a_round_is_told_and_changes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object) -> None:
        keep_record(site.archive, ROUND)

    monkeypatch.setattr(closing, "check_open", late)
    with pytest.raises(ArchiveError, match="the record of another runner"):
        site.run()
    assert site.files("rounds")["0001.json"] == ROUND.to_json()
    assert not checkpoint(site)


def test_a_round_that_another_closed_meanwhile_is_not_drawn_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = evaluate_archive

    def late(*given: Any) -> object:
        site.archive.add(None, "rounds/0001.json", b"{}")
        return evaluate(*given)

    monkeypatch.setattr(delivering, "evaluate_archive", late)
    monkeypatch.setattr(closing, "deliver", None)
    with pytest.raises(ArchiveError, match="one runner at a time"):
        site.run()


def test_of_two_openings_the_first_counts_for_both(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = site.files("rounds")["0001.open.json"]
    (site.archive.root / TESTED / "BRS" / HUMAN_FILE).unlink()
    monkeypatch.setattr("plugin.loop.read_rounds", lambda _: Rounds((), None, None))
    assert site.opened(ask=3).opening == Opening.from_json(first)
    assert site.files("rounds")["0001.open.json"] == first


# nobody on both sides


def plant_twin(site: Site) -> None:
    """Annotate a copy of the tested session that goes by another patient."""
    shutil.copytree(site.archive.root / TESTED, site.archive.root / "TWIN")
    site.rename("TWIN", "TWIN", of=TESTED)


def test_a_planted_twin_ends_the_round_before_anything_is_trained(site: Site) -> None:
    plant_twin(site)
    with pytest.raises(LeakageError, match="P3 and TWIN") as told:
        site.run()
    assert exit_code(told.value) == 10
    assert site.archive.read(None, "fold-0.json") is None
    record = site.closed(without=frozenset({"TWIN"}))
    assert record.without == ("TWIN",)
    assert "TWIN" not in {mask.session for mask in record.masks}


def test_a_tested_patient_who_is_examined_and_annotated_again_is_found(
    site: Site,
) -> None:
    site.draw(["P2"])
    site.rename("P2", TESTED, of="P2")
    with pytest.raises(LeakageError, match="P2 with P3"):
        site.run()


def test_a_start_that_learned_from_a_tested_patient_is_refused(
    site: Site, tmp_path: Path
) -> None:
    store = CaseStore(tmp_path / "cases")
    (tested,) = gather(
        site.archive,
        store,
        tmp_path,
        grid_px=CONFIG.grid_px,
        rules=DceRules(),
        sessions=[TESTED],
    ).infos
    manifest = Manifest("test", 32, 0, 0, (), {}, {}, {})
    knowing = replace(manifest, learned_before=(tested.source_key,))
    start = Checkpoint(new_network(seed=0), knowing)
    with pytest.raises(LeakageError, match=f"learned from tested patients: {TESTED}"):
        site.run(train=replace(OPTIONS.train, start=start))
    assert site.archive.read(None, "fold-0.json") is None


# what a round needs


def test_a_mask_that_cannot_be_used_is_told_and_not_passed_over(site: Site) -> None:
    (asked,) = site.asked()
    shutil.copy(
        site.archive.root / KNOWN / "BRS" / HUMAN_FILE,
        site.archive.root / asked / "BRS" / HUMAN_FILE,
    )
    with pytest.raises(MaskError, match=f"session {asked}: found a mask that cannot"):
        site.run()


def test_the_times_of_the_site_are_kept_in_its_project(
    site: Site, tmp_path: Path
) -> None:
    table = tmp_path / "timings.csv"
    table.write_text("case_id,minutes\nP1,14\nP2,6.5\n")
    assert site_timings(site.archive, table) == {"P1": 14, "P2": 6.5}
    assert site_timings(site.archive, None) == {"P1": 14, "P2": 6.5}
    for wrong in ("case,minutes\nP1,3\n", "case_id,minutes\nP1,-3\n"):
        table.write_text(wrong)
        with pytest.raises(ConfigError, match="columns case_id and minutes"):
            site_timings(site.archive, table)


def test_the_command_says_who_waits_then_what_came_of_it(
    site: Site, tmp_path: Path
) -> None:
    drawn = site.archive.root / TESTED / "BRS" / HUMAN_FILE
    drawn.rename(tmp_path / HUMAN_FILE)
    where = ("loop", "--archive", str(site.archive.root), "--output", str(tmp_path))
    how = ("--checkpoint", "none", "--grid", "32", "--epochs", "1", "--fold", "0")
    cold = ("--engine", "torch", "--device", "cpu", "--precision", "fp32")

    def said() -> dict[str, object]:
        run = CliRunner().invoke(cli, (*where, *how, *cold), catch_exceptions=False)
        found: dict[str, object] = json.loads(run.stdout.splitlines()[-1])
        return found

    waits = {"state": "waiting", "round": 1, "asked": 1, "waiting": []}
    assert said() == waits | {"test": [TESTED]}
    (tmp_path / HUMAN_FILE).rename(drawn)
    found = said()
    assert (found["state"], found["patients"], found["tested"]) == ("recorded", 2, 1)
    assert found["advice"] == "go on"
