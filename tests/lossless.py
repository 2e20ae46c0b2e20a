"""Write one image in every lossless transfer syntax, by other people's encoders."""

import base64
from collections.abc import Callable
from pathlib import Path

import gdcm  # type: ignore[import-untyped]
import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from synthetic import write

BLOCKS = np.add.outer(300 * (np.arange(32) // 8), 70 * (np.arange(32) // 8) + 1)
"""A plane of 32 x 32 pixels that needs 11 bits and compresses well."""
HTJ2K_BLOCKS = base64.b64decode(
    "/0//UQApQAAAAAAgAAAAIAAAAAAAAAAAAAAAIAAAACAAAAAAAAAAAAABDwEB/1AACAACAAAACv9S"
    "AAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4z"
    "Lv+QAAoAAAAAAa4AAf+TwAAmzf0FB3QAwAASwAATACoBh3QABP0Ch3QAwAAVEAAFSI8HCPQAgrQA"
    "SWwlYesBBrQAwAAWnAABbADHY57nFOI45nlOIf4AesOyGZcANeE14TXhNeFhznBOmBPm/AD1lwhA"
    "0LgAwAAXawAAXohNgyBNgyBNAzQNgjQNgjQNgjQNgjQNgjQNgjQNgjQNgjQNgvwXHZye47OT3HZy"
    "fh9bkWJxAU+fnp6enp6eSJ5InkieSJ5InkieSJ5InkieSJ5InkieSJ5InkieSJ5ISEhISEhISP4C"
    "1rOwQcGPgg4McIQKaQhAp1MBwAAvSYAAXtBFURRFURRFURRFURRFURRFURRFURRFURRFURRFURRF"
    "URRFURSP8AU5TlOU5TlOU5TlOU5TlOU5TlOU5TlOU5TlOAguAguAgnUCK1dWVlZWVlZWVlZWVlZW"
    "VlaurKysrKysrKysrKysrKysXFlZWVlZWVlZWVlZWVlZ+fofAAAAMYHv2MYHv2MYHv2MYHssAABj"
    "A9+xjA9+xjA9+xjA9lgAAMYHv2MYHv2MYHv2MYHstwP/2Q=="
)
"""``BLOCKS`` as one codestream, encoded by imagecodecs 2026.3.6 (OpenHTJ2K)."""


def _native(syntax: UID) -> Callable[[Dataset, Path], None]:
    def encode(dataset: Dataset, path: Path) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        if not syntax.is_little_endian:
            swapped = np.frombuffer(dataset.PixelData, np.uint16).byteswap()
            dataset.PixelData = swapped.tobytes()
        write([dataset], path.parent, name=lambda _: path.name)

    return encode


def _pydicom(syntax: UID) -> Callable[[Dataset, Path], None]:
    def encode(dataset: Dataset, path: Path) -> None:
        dataset.compress(syntax, generate_instance_uid=False)
        write([dataset], path.parent, name=lambda _: path.name)

    return encode


def _gdcm(process: int) -> Callable[[Dataset, Path], None]:
    def encode(dataset: Dataset, path: Path) -> None:
        write([dataset], path.parent, name=lambda _: path.name)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(process))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()

    return encode


def _htj2k(dataset: Dataset, path: Path) -> None:
    dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
    dataset.PixelData = encapsulate([HTJ2K_BLOCKS])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    write([dataset], path.parent, name=lambda _: path.name)


ENCODERS: dict[UID, Callable[[Dataset, Path], None]] = {
    **{
        syntax: _native(syntax)
        for syntax in (
            ImplicitVRLittleEndian,
            ExplicitVRLittleEndian,
            ExplicitVRBigEndian,
            DeflatedExplicitVRLittleEndian,
        )
    },
    RLELossless: _pydicom(RLELossless),
    JPEGLSLossless: _pydicom(JPEGLSLossless),
    JPEG2000Lossless: _pydicom(JPEG2000Lossless),
    JPEGLossless: _gdcm(gdcm.TransferSyntax.JPEGLosslessProcess14),
    JPEGLosslessSV1: _gdcm(gdcm.TransferSyntax.JPEGLosslessProcess14_1),
    HTJ2KLossless: _htj2k,
}
"""Transfer syntax -> how a slice of ``BLOCKS`` is written in it."""
