"""Who still has to annotate: a round waits until its sessions have masks."""

from dataclasses import dataclass
from pathlib import Path

from model.active_learning import Opening
from plugin.archive import Archive
from plugin.masks import has_human_mask, has_trainable_mask


@dataclass(frozen=True, slots=True)
class Waiting:
    """Sessions without the mask that the round needs."""

    opening: Opening
    learn: tuple[str, ...]
    """Of those asked for: a human or an approved mask."""
    test: tuple[str, ...]
    """Of those tested on: a human mask."""

    def __bool__(self) -> bool:
        return bool(self.learn or self.test)


def who_waits(
    archive: Archive, opening: Opening, work: Path, without: frozenset[str]
) -> Waiting:
    """Return which sessions of an open round have no mask yet."""
    learn = [
        session_id
        for session_id in opening.asked
        if session_id not in without
        and not has_trainable_mask(archive, session_id, work)
    ]
    test = [
        session_id
        for session_id in opening.test
        if session_id not in without and not has_human_mask(archive, session_id, work)
    ]
    for session_id in (*opening.asked, *opening.test):
        archive.release(session_id, work)
    return Waiting(opening, tuple(learn), tuple(test))
