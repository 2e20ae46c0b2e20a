"""Segment an archive: each session once, failures recorded, the batch goes on."""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from model.atomic import write_atomically
from model.dataset import folder_name
from model.errors import BrsError
from plugin.archive import Archive
from plugin.dce import choose
from plugin.errors import InputError
from plugin.masks import RECORD_FILE, has_trainable_mask, read_record
from plugin.pipeline import (
    RESULT_FILE,
    Segmenter,
    SessionResult,
    segment_pair,
)
from plugin.provenance import MaskRecord, MaskState
from plugin.session import source_key

logger = logging.getLogger(__name__)

VERDICTS = ("publish", "review", "hold")


@dataclass(frozen=True, slots=True)
class BatchItem:
    """What became of one session."""

    session_id: str
    outcome: str
    """``segmented``, ``unchanged`` or ``failed``."""
    verdict: str = ""
    reason: str = ""


def segment_archive(
    archive: Archive,
    segmenter: Segmenter,
    output: Path,
    *,
    sessions: Sequence[str] = (),
    skip_annotated: bool = False,
) -> tuple[BatchItem, ...]:
    """Segment ``sessions`` (all by default) and push each result, verified.

    ``output`` gets one folder per session and ``batch.json``. A session whose result
    of the same images, weights and settings is in the archive is left alone.

    Raises
    ------
    InputError
        If every session failed.
    """
    items = []
    for session_id in tqdm(
        sessions or archive.sessions(), desc="segmenting", disable=None
    ):
        try:
            if skip_annotated and has_trainable_mask(archive, session_id, output):
                continue
            items.append(_segment_one(archive, session_id, segmenter, output))
        except BrsError as error:
            logger.warning("session %s failed: %s", session_id, error)
            items.append(BatchItem(session_id, "failed", reason=str(error)))
    text = json.dumps([asdict(item) for item in items], indent=1)
    write_atomically(output / "batch.json", text.encode())
    if items and all(item.outcome == "failed" for item in items):
        raise _all_failed(items)
    return tuple(items)


def tally(items: Sequence[BatchItem]) -> dict[str, int]:
    """Count the sessions by outcome, and their masks by verdict."""
    outcomes = Counter(item.outcome for item in items)
    verdicts = Counter(item.verdict for item in items if item.verdict)
    names = ("segmented", "unchanged", "failed")
    return {n: outcomes[n] for n in names} | {n: verdicts[n] for n in VERDICTS}


def _segment_one(
    archive: Archive, session_id: str, segmenter: Segmenter, output: Path
) -> BatchItem:
    folder = archive.fetch(session_id, output / "images")
    stored = _stored_result(archive, session_id)
    pair = choose(folder, segmenter.rules)
    key = segmenter.run_key(source_key(pair))
    if stored.get("run_key") == key:
        return BatchItem(session_id, "unchanged", verdict=str(stored["verdict"]))
    results = output / folder_name(session_id)
    result = segment_pair(session_id, pair, results, segmenter)
    push(archive, result, results)
    return BatchItem(session_id, "segmented", result.verdict, "; ".join(result.reasons))


def push(archive: Archive, result: SessionResult, folder: Path) -> None:
    """Store a result in the session's resource; ``result.json`` last.

    A held mask stays out of the session: only its record of why is pushed.
    """
    held = result.verdict == "hold"
    for name in result.files if not held else ():
        archive.write(result.session_id, name, (folder / name).read_bytes())
    if result.sop_instance_uid and not held:
        _record_draft(archive, result)
    archive.write(result.session_id, RESULT_FILE, result.to_json())


def _record_draft(archive: Archive, result: SessionResult) -> None:
    """Name the new mask a draft, unless a record already speaks for it."""
    known = read_record(archive, result.session_id)
    if known is not None and known.sop_instance_uid == result.sop_instance_uid:
        return
    record = MaskRecord(
        state=MaskState.MODEL_DRAFT,
        sop_instance_uid=result.sop_instance_uid or "",
        referenced_series_uid=result.pair["pre_series_uid"],
        weights_sha256=result.algorithm["weights_sha256"],
        verdict=result.verdict,
    )
    archive.write(result.session_id, RECORD_FILE, record.to_json())


def _stored_result(archive: Archive, session_id: str) -> Mapping[str, object]:
    text = archive.read(session_id, RESULT_FILE)
    try:
        stored = json.loads(text or "{}")
    except ValueError:
        return {}
    return stored if isinstance(stored, dict) else {}


def _all_failed(items: Sequence[BatchItem]) -> InputError:
    return InputError(
        f"{len(items)} sessions",
        found=f"none that could be segmented; the first: {items[0].reason}",
        needed="at least one",
        mend="see batch.json for the reason of each",
    )
