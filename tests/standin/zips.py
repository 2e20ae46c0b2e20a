"""A zip that is written while it is sent: no length is known beforehand."""

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, cast

from flask import Response

from standin.listings import Listed
from standin.records import Experiment
from standin.refused import Refused

CHUNK_BYTES = 1 << 16
COMPRESSION = zipfile.ZIP_DEFLATED
UNSAFE = re.compile(r'[/\\:*?"<>|\s]')


class _Pipe(io.RawIOBase):
    """What the zip writes, until it is taken away."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.buffer += cast(bytes, data)
        return len(cast(bytes, data))

    def take(self) -> bytes:
        data = bytes(self.buffer)
        self.buffer.clear()
        return data


def zipped(found: Sequence[Listed], experiment: Experiment | None) -> Response:
    """Return the files as one zip; an empty one is 404."""
    if not found:
        raise Refused(404)
    members = [(_member(listed, experiment), listed) for listed in found]
    name = experiment.label if experiment else "files"
    response = Response(_stream(members), mimetype="application/zip")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.zip"'
    return response


def _stream(members: Sequence[tuple[str, Listed]]) -> Iterator[bytes]:
    pipe = _Pipe()
    target = cast(IO[bytes], pipe)
    with zipfile.ZipFile(target, "w", COMPRESSION) as archive:
        for name, listed in members:
            with listed.file.path.open("rb") as source, archive.open(name, "w") as file:
                while chunk := source.read(CHUNK_BYTES):
                    file.write(chunk)
                    yield pipe.take()
    yield pipe.take()


def _member(listed: Listed, experiment: Experiment | None) -> str:
    """Return a member's name: session, scan and type, resource, path."""
    holder = listed.holder
    where = f"resources/{listed.label}/files/{listed.file.name}"
    if experiment is None:
        return f"{holder.uri.removeprefix('/data/')}/{where}"
    top = experiment.label
    if holder.category == "scans":
        kind = UNSAFE.sub("_", holder.about)
        return f"{top}/scans/{holder.id}{f'-{kind}' if kind else ''}/{where}"
    if holder.category == "assessors":
        return f"{top}/assessors/{holder.about}/out/{where}"
    return f"{top}/{where}"
