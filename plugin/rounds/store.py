"""Rounds in the project's resource: two files each, written once."""

from dataclasses import dataclass

from model.active_learning import Opening, RoundRecord
from model.errors import StoreError
from plugin.archive import Archive
from plugin.errors import ArchiveError


@dataclass(frozen=True, slots=True)
class Rounds:
    """The recorded rounds in order, and the one that is open, if there is one."""

    records: tuple[RoundRecord, ...]
    before: Opening | None
    """Of the last record."""
    opening: Opening | None

    @property
    def number(self) -> int:
        """Return the number of the round that is open, or comes next."""
        return len(self.records) + 1


def opening_name(number: int) -> str:
    """Return the file of a round's opening."""
    return f"rounds/{number:04d}.open.json"


def record_name(number: int) -> str:
    """Return the file of a round's record."""
    return f"rounds/{number:04d}.json"


def read_rounds(archive: Archive) -> Rounds:
    """Return the archive's rounds; raises ``StoreError`` for a file that is none."""
    records: list[RoundRecord] = []
    while (text := archive.read(None, record_name(len(records) + 1))) is not None:
        records.append(RoundRecord.from_json(text))
    before = _opening(archive, len(records))
    if records and before is None:
        raise _half(len(records))
    return Rounds(tuple(records), before, _opening(archive, len(records) + 1))


def _opening(archive: Archive, number: int) -> Opening | None:
    text = archive.read(None, opening_name(number)) if number else None
    return None if text is None else Opening.from_json(text)


def keep_opening(archive: Archive, opening: Opening) -> Opening:
    """Open the round unless another runner did; return the opening that counts."""
    name = opening_name(opening.number)
    if archive.add(None, name, opening.to_json()):
        return opening
    return Opening.from_json(archive.read(None, name) or b"")


def keep_record(archive: Archive, record: RoundRecord) -> None:
    """Close the round.

    Raises
    ------
    ArchiveError
        If another runner closed it.
    """
    if not archive.add(None, record_name(record.number), record.to_json()):
        raise _taken(record.number)


def check_open(archive: Archive, number: int) -> None:
    """Raise ``ArchiveError`` if another runner has closed the round meanwhile."""
    if archive.read(None, record_name(number)) is not None:
        raise _taken(number)


def _half(number: int) -> StoreError:
    return StoreError(
        f"round {number}",
        found=f"a record without {opening_name(number)}",
        needed="both files: the opening says who is tested",
        mend="restore the file in the project's resource",
    )


def _taken(number: int) -> ArchiveError:
    return ArchiveError(
        f"round {number}",
        found="the record of another runner",
        needed="one runner at a time on an archive",
        mend="run again: the next run goes on from what is recorded",
    )
