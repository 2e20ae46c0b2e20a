"""An archive that is a PACS: images by C-FIND, C-GET and C-MOVE, masks by C-STORE.

What a PACS cannot keep lies in a state folder, which has to be named (ADR 0017).
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage
from pynetdicom import build_context
from pynetdicom.association import Association
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from model.dataset import folder_name
from plugin.errors import ArchiveError, InputError
from plugin.folder_archive import is_seg
from plugin.pacs.pull import Shelf, pull
from plugin.pacs.series import RemoteSeries, list_series
from plugin.pacs.state import State
from plugin.pacs.studies import Ask, list_studies
from plugin.pacs.target import PacsTarget
from plugin.queue.causes import LastingError, PassingError
from plugin.reading.shortlist import Glimpse, ScanFilter
from plugin.receiving.identity import is_uid
from plugin.sending.association import Offer, associated
from plugin.sending.deliver import deliver
from plugin.sending.limits import Limits
from plugin.sending.query import Found, find, find_context

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often what may pass is tried, and how long each step may take."""

    attempts: int = 4
    longest_wait_s: float = 30.0
    limits: Limits = field(default_factory=Limits)


class DicomArchive:
    """Sessions are MR studies, named by their StudyInstanceUID."""

    def __init__(self, target: PacsTarget, patience: Patience | None = None) -> None:
        self.target = target
        self._patience = patience or Patience()
        self._state = State(target.state, target.peer.ae_title)
        self._sessions: list[str] | None = None
        self._takes_masks = False

    def sessions(self) -> Sequence[str]:
        """Return the UIDs of the selected MR studies, sorted."""
        if self._sessions is None:
            selection = self.target.selection
            self._sessions = self._asked(lambda ask: list_studies(ask, selection))
        return self._sessions

    def fetch(
        self, session_id: str, work: Path, wanted: ScanFilter | None = None
    ) -> Path:
        """Pull the wanted series (all MR series by default) under ``work``."""
        series = self.series(session_id, "MR")
        if not series:
            raise _without_images(session_id)
        if wanted is not None:
            chosen = wanted(self._glimpses(session_id, work, series))
            series = [each for each in series if each.uid in chosen] or series
        shelf = _shelf(work, "images", session_id)
        _take_along(_shelf(work, "glimpses", session_id), shelf, series)
        self._pull(shelf, series)
        return shelf.images

    def release(self, session_id: str, work: Path) -> None:
        """Remove what was pulled of a session."""
        for kind in ("images", "glimpses"):
            folder = _shelf(work, kind, session_id).folder
            shutil.rmtree(folder, ignore_errors=True)

    def mask_paths(self, session_id: str, work: Path) -> Sequence[Path]:
        """Pull the study's DICOM-SEG; those of the state folder come with them."""
        kept = list(self._state.mask_paths(_checked(session_id)))
        known = {_sop_uid(path) for path in kept if is_seg(path)}
        shelf = _shelf(work, "masks", session_id)
        series = [
            each.only(set(each.sop_uids) - known)
            for each in self.series(session_id, "SEG")
        ]
        self._pull(shelf, series)
        pulled = [shelf.path(uid) for each in series for uid in each.sop_uids]
        return sorted([*kept, *(path for path in pulled if is_seg(path))])

    def read(self, session_id: str | None, name: str) -> bytes | None:
        """Return a file of the state folder, None when there is none."""
        return self._state.read(_owner(session_id), name)

    def write(self, session_id: str | None, name: str, data: bytes) -> None:
        """Store a file in the state folder and verify it by reading back."""
        self._state.write(_owner(session_id), name, data)

    def add(self, session_id: str | None, name: str, data: bytes) -> bool:
        """Store a file in the state folder unless there is one."""
        return self._state.add(_owner(session_id), name, data)

    def prepare(self, session_id: str | None) -> None:
        """Make the state folder; once, ask whether the PACS takes masks."""
        self._state.prepare(_owner(session_id))
        if session_id is not None and not self._takes_masks:
            context = build_context(SegmentationStorage, ExplicitVRLittleEndian)
            with _told(), self._associated(Offer("DICOM-SEG (C-STORE)", [context])):
                self._takes_masks = True

    def publish(self, session_id: str, segmentation: Path, weights_sha256: str) -> bool:
        """Store the mask in the PACS and find it there; once, however often asked."""
        target = self.target

        def send() -> bool:
            done = deliver(
                [segmentation],
                target.peer,
                calling_ae=target.calling_ae,
                locks=self._state.root / ".locks",
                limits=self._patience.limits,
            )
            return done.is_confirmed

        return self._retried(send)

    def close(self) -> None:
        """Do nothing: every association ends with its request."""

    def series(self, session_id: str, modality: str) -> list[RemoteSeries]:
        """Return a study's series of a modality, as the PACS lists them."""
        uid = _checked(session_id)
        return list(self._asked(lambda ask: list_series(ask, uid, modality)))

    def _glimpses(
        self, session_id: str, work: Path, series: Sequence[RemoteSeries]
    ) -> list[Glimpse]:
        """Return one header of each series."""
        shelf = _shelf(work, "glimpses", session_id)
        self._pull(shelf, [each.beginning() for each in series])
        return [
            Glimpse(each.uid, len(each.sop_uids), _header(shelf.path(each.sop_uids[0])))
            for each in series
        ]

    def _pull(self, shelf: Shelf, series: Sequence[RemoteSeries]) -> None:
        limits = self._patience.limits
        self._retried(lambda: pull(self.target, shelf, series, limits))

    def _asked(self, question: Callable[[Ask], Answer]) -> Answer:
        """Return the answer to a question that may take several queries."""

        def once() -> Answer:
            with self._associated(Offer("C-FIND", [find_context()])) as association:

                def ask(level: str, keys: Mapping[str, str]) -> Found:
                    return find(association, self.target.peer, level, keys)

                return question(ask)

        return self._retried(once)

    @contextmanager
    def _associated(self, offer: Offer) -> Iterator[Association]:
        limits, target = self._patience.limits, self.target
        with associated(
            target.peer, offer, calling_ae=target.calling_ae, limits=limits
        ) as association:
            yield association

    def _retried(self, once: Callable[[], Answer]) -> Answer:
        """Return what ``once`` does, tried again while the cause may pass."""
        patience = self._patience
        tries = Retrying(
            stop=stop_after_attempt(patience.attempts),
            wait=wait_random_exponential(max=patience.longest_wait_s),
            retry=retry_if_exception_type(PassingError),
            reraise=True,
        )
        with _told():
            return tries(once)


@contextmanager
def _told() -> Iterator[None]:
    """Turn the sending side's errors into the archive's."""
    try:
        yield
    except (PassingError, LastingError) as error:
        raise ArchiveError(
            error.subject, found=error.found, needed=error.needed, mend=error.mend
        ) from error


def _checked(session_id: str) -> str:
    """Return a session's id, which becomes a folder's name; refused if it is no UID."""
    if is_uid(session_id):
        return session_id
    raise ArchiveError(
        f"session {session_id}",
        found="a name",
        needed="a StudyInstanceUID: sessions of a PACS have no other name",
        mend="take the UID from ranking.csv, or from the PACS",
    )


def _owner(session_id: str | None) -> str | None:
    """Return whose files they are: a session's, or the project's."""
    return None if session_id is None else _checked(session_id)


def _shelf(work: Path, kind: str, session_id: str) -> Shelf:
    return Shelf(work / kind / folder_name(session_id), session_id)


def _take_along(seen: Shelf, shelf: Shelf, series: Sequence[RemoteSeries]) -> None:
    """Put what was pulled for its header where it belongs: it may be a whole phase."""
    for each in series:
        there, here = (place.path(each.sop_uids[0]) for place in (seen, shelf))
        if there.is_file() and not here.is_file():
            here.parent.mkdir(parents=True, exist_ok=True)
            here.hardlink_to(there)


def _sop_uid(path: Path) -> str:
    return str(read_file_meta_info(path).get("MediaStorageSOPInstanceUID", ""))


def _header(path: Path) -> Dataset | None:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError, ValueError):
        logger.info("a series' first header cannot be read")
        return None
    return header if "Rows" in header else None


def _without_images(session_id: str) -> InputError:
    return InputError(
        f"session {session_id}",
        found="a study without MR images that we can read",
        needed="a breast DCE-MR study",
        mend="check that the PACS has the whole study",
    )
