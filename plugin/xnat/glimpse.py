"""The first header of every scan, without pulling the scan."""

import io
import logging
from collections.abc import Mapping, Sequence

import pydicom
from pydicom import Dataset

from plugin.errors import ArchiveError
from plugin.reading.shortlist import Glimpse
from plugin.xnat.client import XnatClient
from plugin.xnat.download import subject_of
from plugin.xnat.listing import RemoteFile

logger = logging.getLogger(__name__)

HEADER_BYTES = 1 << 18
"""A single-frame MR header is a tenth of this; a longer one makes the scan unclear."""


def glimpses(
    client: XnatClient, scans: Mapping[str, Sequence[RemoteFile]]
) -> list[Glimpse]:
    """Return one header per scan: one short request each."""
    return [
        Glimpse(scan_id, len(files), _header(client, files[0]))
        for scan_id, files in scans.items()
    ]


def _header(client: XnatClient, file: RemoteFile) -> Dataset | None:
    try:
        beginning = client.begin(file.uri, subject_of(file), HEADER_BYTES)
        header = pydicom.dcmread(io.BytesIO(beginning), stop_before_pixels=True)
    except (ArchiveError, pydicom.errors.InvalidDicomError, EOFError, ValueError):
        logger.info("%s: its first header cannot be read", subject_of(file))
        return None
    return header if "Rows" in header else None
