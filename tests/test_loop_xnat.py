"""Rounds on an XNAT server; the second asks the networks of the first."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from campaign import CONFIG, CPU, KNOWN, OPTIONS, SECRET, TESTED, Site, make_small
from xnat_project import archive_of, breast_project

from model.active_learning import RoundRecord
from plugin.archive import Archive
from plugin.engines import Wish
from plugin.exchange import HUMAN_FILE
from plugin.folder_archive import FolderArchive
from plugin.looking import Looker, open_looker
from plugin.loop import Place, run_round
from plugin.proofs import Proofs
from plugin.rank import RankOptions
from plugin.rounds.waiting import Waiting
from plugin.rules import DceRules
from plugin.session import SECRET_FILE, find_pair, load_session
from plugin.train import TrainOptions

ENSEMBLE = replace(OPTIONS, train=TrainOptions(CPU, CONFIG))
"""Both folds are trained, and asked."""


@dataclass(frozen=True, slots=True)
class Project:
    """The site's sessions in an XNAT project, by the names of their patients."""

    archive: Archive
    truth: FolderArchive
    ids: dict[str, str]
    root: Path

    def draw(self, ids: Iterable[str]) -> None:
        """Annotate sessions as they truly are."""
        names = {id_: name for name, id_ in self.ids.items()}
        for session in ids:
            drawn = self.truth.read(names[session], HUMAN_FILE)
            self.archive.write(session, HUMAN_FILE, drawn or b"")

    def run(self, machine: str, **changes: Any) -> Any:
        """Run the loop once, in folders of its own."""
        place = Place(self.root / machine, self.root / machine / "work")
        return run_round(self.archive, place, replace(ENSEMBLE, **changes))

    def look(self, weights: Path | None) -> Looker:
        assert weights is not None
        work = self.root / "looking"
        return open_looker(weights, self.archive, work, Wish(), Proofs(work))

    def disagreement(self, looker: Looker, session: str) -> float:
        pair = find_pair(self.archive, session, self.root / "w", DceRules())
        return looker.evidence(load_session(session, pair)).disagreement


def test_rounds_on_xnat_ask_next_for_whom_the_folds_agree_on_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch)
    site = Site.at(tmp_path / "site")
    site.image()
    with breast_project(tmp_path) as server:
        ids = {
            path.name: server.add_session(
                "BREAST", subject=path.name, label=path.name, dicom=path
            )
            for path in sorted(site.archive.root.glob("P*"))
        }
        project = Project(archive_of(server), site.truth, ids, tmp_path)
        project.archive.write(None, SECRET_FILE, SECRET)
        check_rounds(project)


def check_rounds(project: Project) -> None:
    project.draw([project.ids[KNOWN]])
    waiting = project.run("first")
    assert isinstance(waiting, Waiting), waiting
    assert waiting.test == (project.ids[TESTED],)
    project.draw((*waiting.learn, *waiting.test))
    record = project.run("second")
    assert isinstance(record, RoundRecord), record
    rank = RankOptions("uncertainty")
    following = project.run("third", rank=rank, looker=project.look)
    check_asked(project, following, record)


def check_asked(project: Project, waiting: Waiting, record: RoundRecord) -> None:
    """The session that is asked for is the one the two folds disagree on most."""
    opening = waiting.opening
    looker = project.look(project.root / "third/work/weights/checkpoint.safetensors")
    assert record.checkpoint_sha256 in looker.key
    assert len(looker.members) == CONFIG.folds
    pool = set(project.ids.values()) - {*opening.apart, *opening.ranking.first}
    doubts = {session: project.disagreement(looker, session) for session in pool}
    assert len(set(doubts.values())) == len(pool)
    assert opening.asked == (max(doubts, key=lambda session: doubts[session]),)
