"""A work folder as the service leaves it: real queue, real journals, real previews."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import unescape
from pathlib import Path
from random import Random
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from phantoms import patient_for, site_for
from queue_case import HandClock

from model.phantom import make_case
from model.preview import preview_png
from plugin.jobs import Cause, Clock, Job, Policy, Queue
from plugin.receiving.identity import key
from plugin.status import HttpConfig, StatusSource, create_app
from plugin.web.settings import digest

TOKEN = "a-token-of-these-tests-0123"
LOCAL = HttpConfig(token_sha256=digest(TOKEN))
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PASSING_CLOUD = Cause("pacs-busy", "the PACS answered 0xA700", passing=True)
PARKED = (
    "study {uid}: found one phase of 160 slices; needed a pre- and a post-contrast "
    "series of equal slice counts. Mend: send the missing series to this AE title."
)


def study_uid(name: str) -> str:
    number = int(hashlib.sha256(name.encode()).hexdigest()[:24], 16)
    return f"1.2.826.0.1.3680043.8.498.{number}"


@cache
def preview(seed: int = 1, *, slices: int = 12, matrix_px: int = 64) -> bytes:
    """Return the preview of a phantom's known mask."""
    site = site_for(seed, slices=slices, matrix_px=matrix_px)
    case = make_case(patient_for(seed), site, seed=seed)
    post = case.phases[1]
    return preview_png(
        post.array.astype("float32"), case.right, case.left, pixel_mm=post.pixel_spacing
    )


def result(
    verdict: str = "publish",
    *,
    reasons: Sequence[str] = (),
    energy_kwh: float | None = 0.0004,
    infer_s: float = 8.0,
) -> dict[str, Any]:
    """Return a result.json: 2 + 8 + 1 + 1 = 12 s, 0.4 Wh, so 0.475 * 0.4 = 0.19 g."""
    return {
        "session_id": "S",
        "run_key": "f" * 64,
        "verdict": verdict,
        "reasons": list(reasons),
        "pair": {"pre_series_uid": study_uid("pre"), "confidence": 0.97},
        "bag": {"nearest_point_mm": 31.5, "breast_size_mm": 118.2},
        "right_ml": 812.4,
        "left_ml": 790.6,
        "algorithm": {
            "name": "brs FCN-ResNet50",
            "weights_sha256": "ab" * 32,
            "configuration": json.dumps({"engine": "torch-cuda-bf16"}),
        },
        "sop_instance_uid": study_uid("mask"),
        "files": {},
        "timings_s": {"read": 2.0, "infer": infer_s, "judge": 1.0, "write": 1.0},
        "footprint": {
            "energy_kwh": energy_kwh,
            "cfp_kg": None if energy_kwh is None else 0.475 * energy_kwh,
            "devices": [] if energy_kwh is None else ["NVIDIA H200"],
            "method": "unknown" if energy_kwh is None else "nvml-counter",
        },
    }


@dataclass(eq=False)
class Service:
    """One work folder, its queue, and what the supervisor would have written."""

    root: Path
    clock: Clock = field(default_factory=HandClock)
    policy: Policy | None = None

    def __post_init__(self) -> None:
        self.work = self.root / "work"
        self.queue = Queue(self.work, self.clock, self.policy, rng=Random(7))

    def source(self, **more: Any) -> StatusSource:
        known: dict[str, Any] = {"destinations": ("pacs",), "min_free_bytes": 1 << 30}
        listening: Callable[[], bool] = lambda: True  # noqa: E731
        more = known | {"listening": listening} | more
        return StatusSource(self.work, self.queue, clock=self.clock, **more)

    def app(self, config: HttpConfig = LOCAL, **more: Any) -> Flask:
        return create_app(self.source(**more), config)

    def client(self, config: HttpConfig = LOCAL, **more: Any) -> FlaskClient:
        return self.app(config, **more).test_client()

    def receive(self, name: str, *, instances: int = 320) -> str:
        """Receive a study; return its job's id."""
        job_id = key(study_uid(name))
        folder = self.queue.receive(job_id)
        (folder / "images").mkdir(exist_ok=True)
        (folder / "images" / "a.dcm").write_bytes(name.encode())
        study = {
            "study_instance_uid": study_uid(name),
            "source_aes": ["MR3T"],
            "called_ae": "BRS",
            "first_received": self.clock().at.isoformat(),
            "instances": instances,
        }
        (folder / "study.json").write_text(json.dumps(study))
        return job_id

    def queued(self, name: str) -> str:
        job_id = self.receive(name)
        self.queue.enqueue(job_id)
        return job_id

    def taken(self, name: str, worker: str = "gpu-0") -> Job:
        self.queued(name)
        job = self.queue.take(worker)
        assert job is not None
        return job

    def running(self, name: str, stage: str, share: float) -> Job:
        job = self.taken(name)
        self.report(job, stage, share)
        return job

    def report(self, job: Job, stage: str, share: float) -> None:
        """Write the progress of a running job, as its worker does."""
        since = self.clock().at.isoformat()
        values = {"stage": stage, "share": share, "since": since}
        part = job.folder / "progress.part"
        part.write_text(json.dumps(values))
        part.replace(job.folder / "progress.json")

    def done(
        self,
        name: str,
        found: Mapping[str, Any] | None = None,
        *,
        picture: bytes | None = None,
        sent: str = "confirmed",
    ) -> str:
        return self.finish(self.taken(name), found or result(), picture, sent)

    def finish(
        self,
        job: Job,
        found: Mapping[str, Any],
        picture: bytes | None = None,
        sent: str = "confirmed",
    ) -> str:
        """Write the result of a running job, and settle it as done."""
        write_result(job.folder, found, picture, sent)
        job.done(found["verdict"])
        return job.job_id

    def parked(self, name: str, text: str = PARKED, cause: str = "incomplete") -> str:
        job = self.taken(name)
        job.park(Cause(cause, text.format(uid=study_uid(name)), passing=False))
        return job.job_id

    def health(self, **more: Any) -> None:
        """Write what the supervisor writes every few seconds."""
        at = self.clock().at
        values = {
            "destinations": {
                "pacs": {"reachable": True, "at": at.isoformat(), "text": ""}
            },
            "workers": [
                {"name": "gpu-0", "pid": os.getpid(), "state": "busy", "job": None}
            ],
            "disk_free_bytes": 1 << 40,
            "started": at.isoformat(),
            "version": "0.1.0",
        }
        path = self.work / "health.json"
        path.write_text(json.dumps(values | more))
        os.utime(path, (at.timestamp(), at.timestamp()))


def write_result(
    folder: Path, found: Mapping[str, Any], picture: bytes | None, sent: str
) -> None:
    out = folder / "result"
    out.mkdir(exist_ok=True)
    (out / "result.json").write_text(json.dumps(found))
    if picture is not None:
        (out / "preview.png").write_bytes(picture)
    delivery = {
        "state": sent,
        "attempts": 1,
        "at": "2026-03-01T12:00:41+00:00",
        "sop_instance_uid": study_uid("mask"),
        "cause": "" if sent == "confirmed" else "unreachable",
        "text": "" if sent == "confirmed" else "no connection to 10.0.0.7:104",
    }
    (folder / "deliveries.json").write_text(json.dumps({"pacs": delivery}))


def words(html: str) -> str:
    """Return what a page says, each run of white space as one space."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def sign_in(client: FlaskClient, token: str = TOKEN) -> str:
    """Sign a browser in; return the token that its forms carry."""
    client.post("/login", data={"token": token})
    page = client.get("/").get_data(as_text=True)
    return page.partition('name="csrf" value="')[2].partition('"')[0]
