"""Files of an archive, pulled to disk and verified; what is there is not pulled again.

A scan comes as one zip, because thousands of small requests are slow, or file by file
where the server compresses the zip more slowly than files come: the first files and
the zip's first megabyte are timed. Whatever is missing after a zip comes file by
file. No name that the server sends becomes a path: a file is stored under the hash of
its name.
"""

import hashlib
import logging
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO
from urllib.parse import unquote

from plugin.errors import ArchiveError
from plugin.xnat.answers import CHUNK_BYTES, PassingError, StatusError
from plugin.xnat.client import XnatClient
from plugin.xnat.listing import RemoteFile

logger = logging.getLogger(__name__)

ZIP_FROM_FILES = 8
"""Fewer missing files than this come one by one."""
WORKERS = 4
PROBE_BYTES = 1 << 20
"""Of a zip; then it is known whether it is compressed, and how fast it comes."""
SHRINKS = 2.0
"""Times smaller that MR images become at best: a zip is not thought too slow."""
STORED = 0
"""The method of a zip's members that are not compressed."""
MEMBER_START = b"PK\x03\x04"
METHOD_AT, METHOD_END = 8, 10
MD5_LENGTH = 32
PREAMBLE_BYTES = 128
BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises on bytes that make no sense."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A remote file, and where it goes."""

    file: RemoteFile
    path: Path


def pull(client: XnatClient, files: Sequence[RemoteFile], folder: Path) -> None:
    """Bring ``files`` of one scan into ``folder``, each verified by size and digest.

    Disk: the files and, while it is unpacked, their zip. Memory: a chunk per worker.

    Raises
    ------
    ArchiveError
        If a file is still missing or wrong after all attempts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [Wanted(file, folder / local_name(file)) for file in files]
    try:
        missing = _missing(wanted)
        _check_room(folder, missing)
        with ThreadPoolExecutor(WORKERS) as pool:
            if len(missing) >= ZIP_FROM_FILES:
                rate = _probed(client, missing[:WORKERS], pool)
                _pull_zip(client, _absent(missing), files_bytes_per_s=rate)
                missing = _absent(missing)
            list(pool.map(lambda item: _pull_file(client, item), missing))
    except OSError as error:
        raise _no_room(folder, error.strerror or "an I/O error") from error


def _check_room(folder: Path, missing: Sequence[Wanted]) -> None:
    """Raise ``ArchiveError`` unless the files and their zip fit on the disk."""
    needed = 2 * sum(item.file.size for item in missing)
    free = shutil.disk_usage(folder).free
    if free < needed:
        found = f"{free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed"
        raise _no_room(folder, found)


def local_name(file: RemoteFile) -> str:
    """Return the name of a pulled file: nothing of the server's own, and stable."""
    return hashlib.sha256(file.uri.encode()).hexdigest()[:24] + ".dcm"


def _missing(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return what is not there; what an earlier run left and is wrong is removed."""
    for item in wanted:
        if item.path.is_file() and _fault(item.path, item.file):
            item.path.unlink()
    return _absent(wanted)


def _absent(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return what is not in its place; ``_store`` puts there only what is right."""
    return [item for item in wanted if not item.path.is_file()]


def _fault(path: Path, file: RemoteFile, md5: str | None = None) -> str:
    """Return what is wrong with a pulled file, empty when nothing is.

    ``md5`` is its digest where that is known from the writing of it.
    """
    size = path.stat().st_size
    if size != file.size:
        return f"{size} bytes"
    if len(file.digest) == MD5_LENGTH:
        return "" if (md5 or _digest(path)) == file.digest else "another digest"
    with path.open("rb") as stream:
        stream.seek(PREAMBLE_BYTES)
        return "" if stream.read(4) == b"DICM" else "no DICOM"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, _md5).hexdigest()


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


def _probed(client: XnatClient, first: Sequence[Wanted], pool: Executor) -> float:
    """Pull the first files at once; return their bytes per second, 0 if one fails."""

    def pulled(item: Wanted) -> bool:
        try:
            return not _pull_once(client, item)
        except (PassingError, StatusError):
            return False

    began = time.perf_counter()
    whole = all(list(pool.map(pulled, first)))
    seconds = time.perf_counter() - began
    return sum(item.file.size for item in first) / seconds if whole else 0.0


def _pull_zip(
    client: XnatClient, missing: Sequence[Wanted], *, files_bytes_per_s: float
) -> None:
    """Pull a scan's resource as one zip and keep the members that are right.

    A zip that is compressed is left where its content comes more slowly than files.
    """
    file = missing[0].file
    path = file.uri.partition("/files/")[0] + "/files"
    began, rate = time.perf_counter(), 0.0
    with TemporaryFile(dir=missing[0].path.parent) as archive:
        try:
            with client.stream(path, subject_of(file), format="zip") as chunks:
                for chunk in chunks:
                    archive.write(chunk)
                    if not rate and archive.tell() >= PROBE_BYTES:
                        rate = archive.tell() / (time.perf_counter() - began)
                        if SHRINKS * rate < files_bytes_per_s and _is_deflated(archive):
                            logger.info("%s: files are faster", subject_of(file))
                            return
            _unpack(archive, {unquote(item.file.name): item for item in missing})
        except (PassingError, StatusError, *BAD_ZIP) as error:
            kind = type(error).__name__
            logger.info("%s: no zip (%s), file by file", subject_of(file), kind)


def _is_deflated(archive: IO[bytes]) -> bool:
    """Say whether the first member of a zip that is being written is compressed."""
    end = archive.tell()
    archive.seek(0)
    start = archive.read(METHOD_END)
    archive.seek(end)
    method = int.from_bytes(start[METHOD_AT:], "little")
    return start.startswith(MEMBER_START) and method != STORED


def _unpack(archive: IO[bytes], wanted: dict[str, Wanted]) -> None:
    """Write the wanted members; others, whatever they are called, are left inside."""
    with zipfile.ZipFile(archive) as container:
        for member in container.infolist():
            item = wanted.get(member.filename.partition("/files/")[2])
            if item is None or member.file_size != item.file.size:
                continue
            with container.open(member) as source:
                _store(iter(partial(source.read, CHUNK_BYTES), b""), item)


def _pull_once(client: XnatClient, item: Wanted) -> str:
    """Pull one file; return what is wrong with it, empty when nothing is."""
    with client.stream(item.file.uri, subject_of(item.file)) as chunks:
        return _store(chunks, item)


def _pull_file(client: XnatClient, item: Wanted) -> None:
    def once() -> None:
        fault = _pull_once(client, item)
        if fault:
            raise PassingError(
                subject_of(item.file),
                found=f"a file of {fault}",
                needed=f"{item.file.size} bytes with the digest of the catalog",
                mend="refresh the session's catalogs in XNAT, then run again",
            )

    client.retried(once)


def _store(chunks: Iterable[bytes], item: Wanted) -> str:
    """Write chunks beside the target and move them there if they are right."""
    part = item.path.with_suffix(".part")
    try:
        written, digest = 0, _md5()
        with part.open("wb") as stream:
            for chunk in chunks:
                written += len(chunk)
                if written > item.file.size:
                    return "more bytes"
                stream.write(chunk)
                digest.update(chunk)
        fault = _fault(part, item.file, digest.hexdigest())
        if not fault:
            part.replace(item.path)
        return fault
    finally:
        part.unlink(missing_ok=True)


def subject_of(file: RemoteFile) -> str:
    """Return how messages call a file: by scan or resource, never by name."""
    return f"scan {file.scan_id}" if file.scan_id else f"resource {file.resource}"


def _no_room(folder: Path, found: str) -> ArchiveError:
    return ArchiveError(
        f"work folder {folder}",
        found=found,
        needed="room for the scans of one session, twice while one is unpacked",
        mend="free the disk, or give a larger one with --work",
    )
