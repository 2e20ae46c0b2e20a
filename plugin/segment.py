"""Segment an archive: each session once, failures recorded, the batch goes on."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from model.atomic import write_atomically
from model.dataset import folder_name
from model.errors import BrsError
from plugin.archive import Archive
from plugin.dce import choose
from plugin.errors import ArchiveError, LoginError, common_cause
from plugin.masks import RECORD_FILE, has_trainable_mask, read_record
from plugin.pipeline import (
    RESULT_FILE,
    SEG_FILE,
    Segmenter,
    SessionResult,
    segment_pair,
)
from plugin.provenance import MaskRecord, MaskState
from plugin.session import find_pair, source_key
from plugin.spread import in_turn

logger = logging.getLogger(__name__)

VERDICTS = ("publish", "review", "hold")
ANNOTATED = "annotated"
LABEL = "segmenting"


@dataclass(frozen=True, slots=True)
class BatchItem:
    """What became of one session."""

    session_id: str
    outcome: str
    """``segmented``, ``unchanged`` or ``failed``; ``annotated`` ones are left out."""
    verdict: str = ""
    reason: str = ""
    not_shown: str = ""
    """Why the archive's viewer does not have the mask, though it should."""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """Where images come from and results go."""

    output: Path
    work: Path
    mounted: Path | None = None
    """The only session's images, where a container has them mounted."""
    by_handler: bool = False
    """A container's output handler uploads ``output`` to the session's resource."""

    @property
    def records(self) -> Path:
        """Return the folder of what is about the whole batch."""
        return self.work if self.mounted else self.output

    def results(self, session_id: str) -> Path:
        """Return the folder of a session's results: the output for a mounted one."""
        return self.output if self.mounted else self.output / folder_name(session_id)


Each = Callable[[Sequence[str]], Iterator[tuple[str, BatchItem | BrsError]]]
"""Segments sessions here or elsewhere, and yields what became of each."""


def segment_archive(
    archive: Archive,
    segmenter: Segmenter,
    delivery: Delivery,
    *,
    sessions: Sequence[str] = (),
    skip_annotated: bool = False,
) -> tuple[BatchItem, ...]:
    """Segment ``sessions`` (all by default) and push each result, verified.

    A session whose result of the same images, weights and settings is in the archive
    is left alone. ``batch.json`` tells what became of each.

    Raises
    ------
    LoginError
        If the login ended: what was segmented is stored, later sessions are not tried.
    BrsError
        If every session failed: of their common kind, else ``InputError``.
    """
    each = _here(archive, segmenter, delivery, skip_annotated=skip_annotated)
    return segment_batch(each, sessions or archive.sessions(), delivery)


def segment_batch(
    each: Each, sessions: Sequence[str], delivery: Delivery
) -> tuple[BatchItem, ...]:
    """Segment as ``segment_archive``, wherever ``each`` does it."""
    items, errors = _collected(each, sessions, delivery)
    if errors and len(errors) == len(items):
        raise _all_failed(errors)
    return items


def segment_each(
    archive: Archive,
    segmenter: Segmenter,
    delivery: Delivery,
    sessions: Sequence[str],
    *,
    skip_annotated: bool = False,
) -> tuple[tuple[BatchItem, ...], Sequence[BrsError]]:
    """Segment as ``segment_archive``, and return the errors, be it of every session."""
    each = _here(archive, segmenter, delivery, skip_annotated=skip_annotated)
    return _collected(each, sessions, delivery)


def _here(
    archive: Archive, segmenter: Segmenter, delivery: Delivery, *, skip_annotated: bool
) -> Each:
    work = partial(
        segment_stored, archive, segmenter, delivery, skip_annotated=skip_annotated
    )
    return partial(in_turn, work, label=LABEL)


def _collected(
    each: Each, sessions: Sequence[str], delivery: Delivery
) -> tuple[tuple[BatchItem, ...], Sequence[BrsError]]:
    """Write ``batch.json`` in the order of ``sessions``; return items and errors."""
    found: dict[str, BatchItem] = {}
    errors: dict[str, BrsError] = {}
    for session_id, answer in each(sessions):
        if isinstance(answer, BrsError):
            logger.warning("session %s failed: %s", session_id, answer)
            found[session_id] = BatchItem(session_id, "failed", reason=str(answer))
            errors[session_id] = answer
            if isinstance(answer, LoginError):
                break
        elif answer.outcome != ANNOTATED:
            found[session_id] = answer
    items = tuple(found[s] for s in dict.fromkeys(sessions) if s in found)
    text = json.dumps([asdict(item) for item in items], indent=1)
    write_atomically(delivery.records / "batch.json", text.encode())
    for error in errors.values():
        if isinstance(error, LoginError):
            raise error
    return items, [errors[i.session_id] for i in items if i.session_id in errors]


def segment_stored(
    archive: Archive,
    segmenter: Segmenter,
    delivery: Delivery,
    session_id: str,
    *,
    skip_annotated: bool = False,
) -> BatchItem:
    """Segment one session of an archive, and release its images."""
    try:
        if skip_annotated and has_trainable_mask(archive, session_id, delivery.work):
            return BatchItem(session_id, ANNOTATED)
        return _segment_one(archive, session_id, segmenter, delivery)
    finally:
        archive.release(session_id, delivery.work)


def tally(items: Sequence[BatchItem]) -> dict[str, int]:
    """Count the sessions by outcome, and their masks by verdict."""
    outcomes = Counter(item.outcome for item in items)
    verdicts = Counter(item.verdict for item in items if item.verdict)
    names = ("segmented", "unchanged", "failed")
    hidden = {"not_shown": sum(bool(item.not_shown) for item in items)}
    counts = {n: outcomes[n] for n in names} | {n: verdicts[n] for n in VERDICTS}
    return counts | hidden


def _segment_one(
    archive: Archive, session_id: str, segmenter: Segmenter, delivery: Delivery
) -> BatchItem:
    archive.prepare(session_id)
    stored = _stored_result(archive, session_id)
    if delivery.mounted is not None:
        pair = choose(delivery.mounted, segmenter.rules)
    else:
        pair = find_pair(archive, session_id, delivery.work, segmenter.rules)
    key = segmenter.run_key(source_key(pair))
    folder = delivery.results(session_id)
    if stored.get("run_key") == key:
        _bring_back(archive, session_id, stored, folder)
        item = BatchItem(session_id, "unchanged", verdict=str(stored["verdict"]))
    else:
        result = segment_pair(session_id, pair, folder, segmenter)
        push(archive, result, folder, by_handler=delivery.by_handler)
        reasons = "; ".join(result.reasons)
        item = BatchItem(session_id, "segmented", result.verdict, reasons)
    if item.verdict == "hold" or not (folder / SEG_FILE).exists():
        return item
    weights = segmenter.checkpoint.manifest.weights_sha256
    return _shown(archive, item, folder / SEG_FILE, weights)


def _shown(
    archive: Archive, item: BatchItem, segmentation: Path, weights_sha256: str
) -> BatchItem:
    """Show the mask in the archive's viewer; its file is safe if that is refused."""
    try:
        archive.publish(item.session_id, segmentation, weights_sha256)
    except ArchiveError as error:
        logger.warning("session %s: not in the viewer: %s", item.session_id, error)
        return replace(item, not_shown=str(error))
    return item


def push(
    archive: Archive, result: SessionResult, folder: Path, *, by_handler: bool = False
) -> None:
    """Store a result in the session's resource; ``result.json`` last.

    A held mask stays out of the session: only its record of why is pushed. Where an
    output handler uploads, ``folder`` is left with just the files for the session.
    """
    files = _for_session(archive, result, folder)
    for name, data in files.items():
        if by_handler:
            write_atomically(folder / name, data)
        else:
            archive.write(result.session_id, name, data)
    for name in result.files if by_handler else ():
        if name not in files:
            (folder / name).unlink()


def _for_session(
    archive: Archive, result: SessionResult, folder: Path
) -> dict[str, bytes]:
    """Return the files that belong with the session, the record of the run last."""
    held = result.verdict == "hold"
    files = {n: (folder / n).read_bytes() for n in result.files if not held}
    if result.sop_instance_uid and not held:
        known = read_record(archive, result.session_id)
        if known is None or known.sop_instance_uid != result.sop_instance_uid:
            files[RECORD_FILE] = _draft(result).to_json()
    return files | {RESULT_FILE: result.to_json()}


def _draft(result: SessionResult) -> MaskRecord:
    return MaskRecord(
        state=MaskState.MODEL_DRAFT,
        sop_instance_uid=result.sop_instance_uid or "",
        referenced_series_uid=result.pair["pre_series_uid"],
        weights_sha256=result.algorithm["weights_sha256"],
        verdict=result.verdict,
    )


def _bring_back(
    archive: Archive, session_id: str, stored: Mapping[str, Any], folder: Path
) -> None:
    """Put the stored result where a new one would be: its bytes are sent again."""
    for name in (*stored["files"], RESULT_FILE):
        data = archive.read(session_id, name)
        if data is not None:
            write_atomically(folder / name, data)


def _stored_result(archive: Archive, session_id: str) -> Mapping[str, Any]:
    text = archive.read(session_id, RESULT_FILE)
    try:
        stored = json.loads(text or "{}")
    except ValueError:
        return {}
    return stored if isinstance(stored, dict) else {}


def _all_failed(errors: Sequence[BrsError]) -> BrsError:
    return common_cause(errors)(
        f"{len(errors)} sessions",
        found=f"none that could be segmented; the first: {errors[0]}",
        needed="at least one",
        mend="see batch.json for the reason of each",
    )
