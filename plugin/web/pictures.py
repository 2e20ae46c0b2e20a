"""Previews of the mask over the image, whole and small."""

import io
from functools import lru_cache
from pathlib import Path
from typing import Final

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue
from PIL import Image, UnidentifiedImageError
from werkzeug.exceptions import NotFound

from plugin.jobs import Queue, QueueError
from plugin.web.records import PREVIEW

WIDTH_PX: Final = 640
QUALITY: Final = 82
KEPT: Final = 64
BYTES_LIMIT: Final = 16 << 20
KEEP: Final = "private, max-age=600"
"""The address changes with the picture, so a browser may keep it for a while."""


class Pictures:
    """The routes of one queue's previews."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("pictures", __name__)
        routes.add_url_rule("/jobs/<job_id>/preview.png", "preview", self.preview)
        routes.add_url_rule("/jobs/<job_id>/small.webp", "thumbnail", self.thumbnail)
        return routes

    def preview(self, job_id: str) -> ResponseReturnValue:
        """Send the preview as the pipeline drew it."""
        return _picture(self._png(job_id), "image/png")

    def thumbnail(self, job_id: str) -> ResponseReturnValue:
        """Send a small copy."""
        return _picture(small(self._png(job_id)), "image/webp")

    def _png(self, job_id: str) -> bytes:
        png = preview_of(self._queue, job_id)
        if png is None:
            raise NotFound("This job has no preview.")
        return png


def preview_of(queue: Queue, job_id: str) -> bytes | None:
    """Return a job's preview; None without a job or a preview."""
    try:
        listed = queue.find(job_id)
    except QueueError:
        return None
    if listed is None:
        return None
    try:
        with (listed.folder / PREVIEW).open("rb") as file:
            return file.read(BYTES_LIMIT)
    except OSError:
        return None


def stamp_of(folder: Path) -> str | None:
    """Return what changes with every preview of a job; None where it has none."""
    try:
        found = (folder / PREVIEW).stat()
    except OSError:
        return None
    return f"{found.st_mtime_ns:x}-{found.st_size:x}"


@lru_cache(maxsize=KEPT)
def small(png: bytes) -> bytes:
    """Return a picture at most ``WIDTH_PX`` wide as WebP."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            copy = picture.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise NotFound("The preview of this job is damaged.") from error
    copy.thumbnail((WIDTH_PX, WIDTH_PX))
    out = io.BytesIO()
    copy.save(out, "WEBP", quality=QUALITY)
    return out.getvalue()


def _picture(data: bytes, kind: str) -> Response:
    response = Response(data, mimetype=kind)
    response.headers["Cache-Control"] = KEEP
    return response
