"""Files of a resource on disk, with the catalog that XNAT keeps beside them."""

import hashlib
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import IO, NamedTuple
from xml.sax.saxutils import quoteattr

from standin.records import Resource, StoredFile
from standin.refused import Refused

CHUNK_BYTES = 1 << 16
LOCK = threading.Lock()
CATALOG_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<cat:Catalog ID={id} xmlns:cat="http://nrg.wustl.edu/catalog">\n<cat:entries>\n'
)
CATALOG_TAIL = "</cat:entries>\n</cat:Catalog>\n"


class Incoming(NamedTuple):
    """One file to be stored: its name below the resource, and its bytes."""

    name: str
    stream: IO[bytes]


def checked_name(name: str) -> str:
    """Return a relative path that stays below its folder; others are refused."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise Refused(400, "Invalid file path")
    return str(path)


def add_files(
    resource: Resource, incoming: Iterator[Incoming], *, overwrite: bool, **about: str
) -> list[str]:
    """Store files and return the names that were there and are left as they are."""
    duplicates = []
    for item in incoming:
        name = checked_name(item.name)
        if not _store(resource, name, item.stream, overwrite=overwrite, about=about):
            duplicates.append(name)
    with LOCK:
        write_catalog(resource)
    return duplicates


def _store(
    resource: Resource,
    name: str,
    stream: IO[bytes],
    *,
    overwrite: bool,
    about: Mapping[str, str],
) -> bool:
    """Store one file; False for one that is there and may not be replaced.

    The whole body is received first; of two at once without ``overwrite`` one wins.
    """
    path = resource.directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, suffix=".upload") as part:
        size, digest = _receive(stream, part)
        with LOCK:
            if name in resource.files and not overwrite:
                return False
            path.unlink(missing_ok=True)
            path.hardlink_to(part.name)
            path.chmod(0o644)
            resource.files[name] = StoredFile(name, path, size, digest, **about)
    return True


def _receive(stream: IO[bytes], part: IO[bytes]) -> tuple[int, str]:
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
        size += part.write(chunk)
    part.flush()
    return size, digest.hexdigest()


def remove_file(resource: Resource, name: str, *, from_disk: bool) -> None:
    stored = resource.files.pop(name, None)
    if stored is None:
        raise Refused(404, "No matched files")
    if from_disk:
        stored.path.unlink(missing_ok=True)
    with LOCK:
        write_catalog(resource)


def write_catalog(resource: Resource) -> None:
    """Write the catalog XML beside the files, as the live archive has it."""
    resource.directory.mkdir(parents=True, exist_ok=True)
    entries = "".join(_entry(stored) for stored in resource.files.values())
    head = CATALOG_HEAD.format(id=quoteattr(resource.label))
    text = head + entries + CATALOG_TAIL
    (resource.directory / resource.catalog).write_text(text, encoding="utf-8")


def _entry(stored: StoredFile) -> str:
    return (
        f"<cat:entry ID={quoteattr(stored.name)} URI={quoteattr(stored.name)} "
        f'digest="{stored.md5}" size="{stored.size}"/>\n'
    )


def remove_resource(resource: Resource) -> None:
    shutil.rmtree(resource.directory, ignore_errors=True)


def unpacked(name: str, stream: IO[bytes]) -> Iterator[Incoming]:
    """Yield the members of an uploaded zip, tar or tgz; another file is refused."""
    for suffixes, members in UNPACKERS:
        if name.lower().endswith(suffixes):
            yield from members(stream)
            return
    raise Refused(400, "The file is no archive that can be extracted")


def _zip_members(stream: IO[bytes]) -> Iterator[Incoming]:
    with TemporaryFile() as whole:
        shutil.copyfileobj(stream, whole)
        yield from _unzipped(whole)


def _unzipped(whole: IO[bytes]) -> Iterator[Incoming]:
    with zipfile.ZipFile(whole) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                with archive.open(member) as content:
                    yield Incoming(member.filename.lstrip("/"), content)


def _tar_members(stream: IO[bytes]) -> Iterator[Incoming]:
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield Incoming(member.name.removeprefix("./").lstrip("/"), content)


UNPACKERS: tuple[
    tuple[tuple[str, ...], Callable[[IO[bytes]], Iterator[Incoming]]], ...
] = (((".zip",), _zip_members), ((".tar", ".tgz", ".tar.gz"), _tar_members))


def copied(paths: Iterator[tuple[str, Path]]) -> Iterator[Incoming]:
    """Yield files of this machine, opened one at a time."""
    for name, path in paths:
        with path.open("rb") as stream:
            yield Incoming(name, stream)
