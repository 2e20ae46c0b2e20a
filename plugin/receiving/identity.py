"""Which study, series and instance an encoded dataset is, from its first elements."""

import re
import zlib
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from plugin.errors import InputError
from plugin.reading.elements import text

KEY_CHARACTERS = 16
UID_CHARACTERS = 64
# A deflated header beyond this is no header: 1 kB can inflate to 1 MB.
INFLATED_BYTES = 16 << 20
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", re.ASCII)
_LAST = Tag("SeriesInstanceUID")
_WANTED = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


@dataclass(frozen=True, slots=True)
class Identity:
    """The UIDs of one instance, each valid by PS3.5 9.1."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str

    @property
    def study_key(self) -> str:
        """Return the study's name in folders and logs: 16 hexadecimal digits."""
        return key(self.study_uid)

    @property
    def sop_key(self) -> str:
        """Return the instance's name in folders and logs: 64 hexadecimal digits."""
        return sop_key(self.sop_uid)


def key(uid: str) -> str:
    """Return a short hash of a UID, which tells nothing about a patient."""
    return sha256(uid.encode("ascii")).hexdigest()[:KEY_CHARACTERS]


def sop_key(uid: str) -> str:
    """Return the whole hash of a UID: no two instances share a file."""
    return sha256(uid.encode("ascii")).hexdigest()


def is_uid(value: str) -> bool:
    """Tell whether a value is a UID (PS3.5 9.1)."""
    return len(value) <= UID_CHARACTERS and _UID.fullmatch(value) is not None


def identify(encoded: BytesIO, transfer_syntax: UID) -> Identity:
    """Return the identity of a dataset as received, without decoding the rest."""
    header = _header(encoded, transfer_syntax)
    sop_class_uid, sop_uid, study_uid, series_uid = (
        _uid(header, keyword) for keyword in _WANTED
    )
    return Identity(study_uid, series_uid, sop_uid, sop_class_uid)


def _header(encoded: BytesIO, transfer_syntax: UID) -> Dataset:
    """Return the wanted elements; what they are is not checked."""
    try:
        return read_dataset(
            _inflated(encoded, transfer_syntax),
            transfer_syntax.is_implicit_VR,
            transfer_syntax.is_little_endian,
            stop_when=_beyond,
            specific_tags=[Tag(keyword) for keyword in _WANTED],
        )
    # A stranger's bytes make a parser raise anything: this is the door.
    except Exception as error:  # noqa: BLE001
        raise _unreadable(type(error).__name__) from None


def _inflated(encoded: BytesIO, transfer_syntax: UID) -> BytesIO:
    """Return a stream at the first element; the caller's bytes are not copied."""
    encoded.seek(0)
    if transfer_syntax != DeflatedExplicitVRLittleEndian:
        return encoded
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    return BytesIO(inflate.decompress(encoded.getbuffer(), INFLATED_BYTES))


def _beyond(tag: BaseTag, vr: str | None, length: int) -> bool:
    """Tell that no wanted element follows: elements come in ascending order."""
    return bool(tag > _LAST)


def _uid(header: Dataset, keyword: str) -> str:
    """Return a UID, or refuse: a name on disk is made from it."""
    value = text(header, keyword)
    if is_uid(value):
        return value
    raise _unreadable(f"{keyword} that is absent or no UID")


def _unreadable(found: str) -> InputError:
    """Return the refusal of a dataset; it quotes no value."""
    return InputError(
        "a received dataset",
        found=found,
        needed="SOP class, SOP instance, study and series UID (PS3.5 9.1)",
        mend="correct the instance at its source and send it again",
    )
