"""Senders of other makers, small MR instances for them, and certificates."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from peers import program
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

PATIENT = "SECRET^PATIENT"
PATIENT_ID = "SECRET-ID-4711"
LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Sent:
    """How a sender ended, and what it said."""

    code: int
    said: str


def send(name: str, *arguments: str | Path | int) -> Sent:
    """Run a DCMTK sender until it ends (Nagle's algorithm would take minutes)."""
    run = subprocess.run(
        [program(name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    return Sent(run.returncode, run.stdout + run.stderr)


def storing(
    port: int, *paths: Path, caller: str = "PACS", called: str = "BRS", more: str = ""
) -> Sent:
    """Send by storescu; ``more`` holds further options."""
    titles = ("-v", "-R", "-aet", caller, "-aec", called)
    return send("storescu", *titles, *more.split(), "127.0.0.1", port, *paths)


def instance(study: str, series: str, *, number: int = 1, side_px: int = 16) -> Dataset:
    """Return an MR instance of a patient whose name must appear in no log."""
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[study, series, str(number)])
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.PatientName, dataset.PatientID = PATIENT, PATIENT_ID
    dataset.Modality, dataset.InstanceNumber = "MR", number
    dataset.Rows = dataset.Columns = side_px
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation, dataset.SamplesPerPixel = 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    pixels = np.random.default_rng(number).integers(0, 4096, (side_px, side_px))
    dataset.PixelData = pixels.astype("<u2").tobytes()
    return with_meta(dataset, ExplicitVRLittleEndian)


def with_meta(dataset: Dataset, transfer_syntax: UID) -> Dataset:
    """Return the instance with file meta information, ready to be saved."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def study(folder: Path, *, slices: int, seed: str = "a", side_px: int = 16) -> Path:
    """Write one series of a study, and return its folder."""
    folder.mkdir(parents=True)
    uids = [generate_uid(entropy_srcs=[seed, level]) for level in ("study", "series")]
    for number in range(1, slices + 1):
        dataset = instance(uids[0], uids[1], number=number, side_px=side_px)
        dataset.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)
    return folder


class Authority:
    """A certificate authority in a folder, made by openssl."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.certificate = folder / "ca.crt"
        self._key = folder / "ca.key"
        _openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2",
            *("-subj", f"/CN={name}", "-keyout", self._key, "-out", self.certificate),
        )

    def sign(
        self, name: str, *, days: int = 2, address: str = "127.0.0.1"
    ) -> tuple[Path, Path]:
        """Return a certificate and its key; one of negative days has expired."""
        key, request, signed = (
            self._folder / f"{name}.{kind}" for kind in ("key", "csr", "crt")
        )
        _openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes",
            *("-subj", f"/CN={name}", "-keyout", key, "-out", request),
            *("-addext", f"subjectAltName=IP:{address}"),
        )
        _openssl(
            f"x509 -req -CAcreateserial -copy_extensions copy -days {days}",
            *("-in", request, "-out", signed),
            *("-CA", self.certificate, "-CAkey", self._key),
        )
        return signed, key


def _openssl(options: str, *arguments: str | Path) -> None:
    """Run openssl, which must succeed."""
    words = [program("openssl"), *options.split(), *map(str, arguments)]
    subprocess.run(words, check=True, capture_output=True, timeout=LIMIT_S)
