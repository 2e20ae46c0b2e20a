"""Instances from a PACS to disk, by C-GET or C-MOVE, until none is missing.

A whole series comes by one request, a few instances one by one. What is on disk is
never asked for again. C-MOVE needs a listener of our own: it runs for one pull.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet as StudyRootGet,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelMove as StudyRootMove,
)

from plugin.jobs import Queue, State
from plugin.listener import Listener
from plugin.pacs.series import RemoteSeries, count
from plugin.pacs.target import Doorstep, PacsTarget
from plugin.queue.causes import LastingError, PassingError
from plugin.receiving.admission import KEPT_CLASSES, UNCOMPRESSED, readable_syntaxes
from plugin.receiving.identity import key, sop_key
from plugin.receiving.landing import IMAGES, Landing
from plugin.receiving.settings import Caller, ListenerConfig
from plugin.receiving.storing import FAILURES, Storing
from plugin.sending.answers import Meaning, meaning, refused_status
from plugin.sending.association import Offer, accepts, associated, lost
from plugin.sending.limits import Limits
from plugin.sending.query import find_context

FEW = 8
"""So many missing instances of a series come one by one."""
NO_GET, NO_MOVE, NO_PORT = "no C-GET", "no C-MOVE", "no port of ours"
PENDING = {0xFF00, 0xFF01}


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where the instances of one study lie, by the hash of their UID."""

    folder: Path
    study_uid: str

    @property
    def images(self) -> Path:
        """Return the folder of what has come whole."""
        return self.folder / State.INCOMING / key(self.study_uid) / IMAGES

    def path(self, sop_uid: str) -> Path:
        """Return where an instance is, or will be."""
        return self.images / f"{sop_key(sop_uid)}.dcm"

    def missing(self, series: Sequence[RemoteSeries]) -> list[RemoteSeries]:
        """Return what of these series has not come yet."""
        left = [
            each.only({uid for uid in each.sop_uids if not self.path(uid).is_file()})
            for each in series
        ]
        return [each for each in left if each.sop_uids]


Way = Callable[[PacsTarget, Shelf, Sequence[RemoteSeries], Limits], str]


def pull(
    target: PacsTarget, shelf: Shelf, series: Sequence[RemoteSeries], limits: Limits
) -> None:
    """Bring the instances of ``series`` to the shelf; return once all are there.

    Raises
    ------
    PassingError, LastingError
        If the PACS cannot or will not send them all.
    """
    said = ""
    for way in _ways(target):
        if missing := shelf.missing(series):
            said = _tried(way, target, shelf, missing, limits)
    missing = shelf.missing(series)
    if missing:
        raise _incomplete(target, count(missing), count(series), said)


def _ways(target: PacsTarget) -> tuple[Way, ...]:
    """Return what can be tried: C-MOVE only with a port of our own."""
    return (_get,) if target.doorstep is None else (_get, move)


def _tried(
    way: Way,
    target: PacsTarget,
    shelf: Shelf,
    missing: Sequence[RemoteSeries],
    limits: Limits,
) -> str:
    """Return what kept this way from bringing all; raises when it was the last."""
    try:
        return way(target, shelf, missing, limits)
    except (PassingError, LastingError) as error:
        if way is _ways(target)[-1]:
            raise
        return error.found


def _get(
    target: PacsTarget, shelf: Shelf, missing: Sequence[RemoteSeries], limits: Limits
) -> str:
    """Fetch over our own association; return why not, if it is not offered."""
    landing = Landing(Queue(shelf.folder))
    storing = Storing(landing, None)
    offer = _get_offer(storing)
    with (
        landing,
        _calling(target, offer, limits) as association,
    ):
        if not accepts(association, StudyRootGet):
            return NO_GET
        for request in _requests(shelf, missing):
            asked = partial(association.send_c_get, request, StudyRootGet)
            _finish(target, association, "C-GET", asked)
    return _kept(storing.counts())


def move(
    target: PacsTarget, shelf: Shelf, missing: Sequence[RemoteSeries], limits: Limits
) -> str:
    """Let the PACS send to a listener of ours; return why not, if it cannot."""
    if target.doorstep is None:
        return NO_PORT
    offer = Offer("C-MOVE", [find_context(), build_context(StudyRootMove)])
    config = doorstep_config(target, target.doorstep)
    with (
        Listener(config, Landing(Queue(shelf.folder))) as listener,
        _calling(target, offer, limits) as association,
    ):
        if not accepts(association, StudyRootMove):
            return NO_MOVE
        for request in _requests(shelf, missing):
            here = target.calling_ae
            asked = partial(association.send_c_move, request, here, StudyRootMove)
            _finish(target, association, "C-MOVE", asked)
        return _kept(listener.counts())


def doorstep_config(target: PacsTarget, doorstep: Doorstep) -> ListenerConfig:
    """Return the settings of the listener that takes what the PACS moves to us."""
    return ListenerConfig(
        target.calling_ae,
        (Caller(target.peer.ae_title),),
        address=doorstep.address,
        port=doorstep.port,
        tls=target.peer.tls,
        min_free_bytes=0,
    )


@contextmanager
def _calling(target: PacsTarget, offer: Offer, limits: Limits) -> Iterator[Association]:
    with associated(
        target.peer, offer, calling_ae=target.calling_ae, limits=limits
    ) as association:
        association.dimse_timeout = limits.retrieve_s
        yield association


def _get_offer(storing: Storing) -> Offer:
    """Return an offer under which the PACS may store on our own association."""
    syntaxes = [[ExplicitVRLittleEndian, ImplicitVRLittleEndian]]
    syntaxes += [[uid] for uid in readable_syntaxes() if uid not in UNCOMPRESSED]
    storage = [
        build_context(sop_class, list(accepted))
        for sop_class in sorted(KEPT_CLASSES)
        for accepted in syntaxes
    ]
    return Offer(
        "C-GET",
        [find_context(), build_context(StudyRootGet), *storage],
        roles=[build_role(uid, scp_role=True) for uid in sorted(KEPT_CLASSES)],
        handlers=[(evt.EVT_C_STORE, storing.store)],
    )


def _requests(shelf: Shelf, missing: Sequence[RemoteSeries]) -> Iterator[Dataset]:
    """Yield the identifiers to ask for: whole series, or single instances."""
    for series in missing:
        keys = {
            "StudyInstanceUID": shelf.study_uid,
            "SeriesInstanceUID": series.uid,
        }
        if len(series.sop_uids) > FEW:
            yield _identifier("SERIES", keys)
        else:
            for uid in series.sop_uids:
                yield _identifier("IMAGE", keys | {"SOPInstanceUID": uid})


def _identifier(level: str, keys: Mapping[str, str]) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def _finish(
    target: PacsTarget,
    association: Association,
    request: str,
    asked: Callable[[], Iterator[tuple[Dataset, Dataset | None]]],
) -> None:
    """Wait for the final answer; what failed of it is missing, and seen by that."""
    final: int | None = None
    try:
        for status, _ in asked():
            final = status.get("Status")
    except RuntimeError:
        # The association ended between two requests.
        final = None
    if final is None or final in PENDING:
        raise lost(target.peer, association, request)
    if meaning(final) not in (Meaning.DONE, Meaning.NOTED):
        raise refused_status(target.peer, request, final)


def _kept(counts: Mapping[str, int]) -> str:
    """Return how many instances could not be kept, empty when all could."""
    bad = {name: n for name, n in counts.items() if name in FAILURES}
    return ", ".join(f"{n} {name}" for name, n in sorted(bad.items()))


def _incomplete(
    target: PacsTarget, missing: int, wanted: int, refused: str
) -> PassingError | LastingError:
    if refused in (NO_GET, NO_MOVE):
        lacks = "no port of ours for C-MOVE" if refused == NO_GET else "without C-MOVE"
        return LastingError(
            f"images of {target.peer}",
            cause="no-retrieve",
            found=f"a PACS without C-GET, and {lacks}",
            needed="one way for images to come",
            mend=f"make {target.calling_ae} known at the PACS with this host and a "
            "port, and give that port in BRS_DICOM_PORT",
        )
    said = f" ({refused})" if refused else ""
    return PassingError(
        f"images of {target.peer}",
        cause="incomplete",
        found=f"{missing} of {wanted} instances missing{said}",
        needed="every instance that its C-FIND lists",
        mend="check disk space here, and at the PACS that it may send to "
        f"{target.calling_ae}",
    )
