"""What a benchmark's numbers depend on: processor, versions, and how busy it was."""

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from model.processors import available
from plugin.rounding import cpu_facts

PACKAGES = ("numpy", "torch", "openvino", "pydicom", "highdicom", "scipy", "isal")
PEERS = {"DCMTK": "storescp", "Orthanc": "Orthanc"}
"""Name and the program that tells its version."""
DEBIAN = "/usr/bin:/usr/sbin:/usr/local/bin"
"""Where programs are looked for: a virtual environment may hold namesakes."""
TOLD = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
ROW = ("cpu", "cores", "python", "versions", "peers", "load")
"""What is told of a machine, in this order; then ``gpu``, where one was used."""


def machine(before: float | None = None) -> dict[str, Any]:
    """Return what the numbers depend on; ``before`` is the load when it began."""
    began = "" if before is None else f"{before:.1f} before, "
    found = (
        _cpu(),
        available(),
        platform.python_version(),
        ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        peers(),
        f"{began}{load():.1f} after",
    )
    return dict(zip(ROW, found, strict=True)) | gpu()


def gpu() -> dict[str, str]:
    """Return the GPU that this process has used; nothing where it has used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    facts = torch.cuda.get_device_properties(torch.cuda.current_device())
    memory = f"{facts.total_memory / 2**30:.0f} GiB"
    versions = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return {"gpu": f"{facts.name} ({memory}), {versions}"}


def load() -> float:
    """Return how many processes ran or waited in the last minute."""
    return os.getloadavg()[0]


@cache
def peers() -> str:
    """Return the versions of the DICOM programs that measurements use."""
    found = [f"{name} {_asked(program)}" for name, program in PEERS.items()]
    return ", ".join([*found, f"pynetdicom {_version('pynetdicom')}"])


def _asked(program: str) -> str:
    """Return the version that is in the first line of what a program says."""
    path = shutil.which(program, path=DEBIAN)
    if path is None:
        return "not installed"
    said = subprocess.run(
        [path, "--version"], capture_output=True, text=True, check=False
    )
    words = (said.stdout.splitlines() or [""])[0].split()
    numbers = [word.removeprefix("v") for word in words]
    return next((word for word in numbers if word[:1].isdigit()), "unknown")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    facts = cpu_facts()
    if not facts:
        return platform.processor() or "unknown"
    flags = set(facts.get("flags", "").split())
    told = [flag for flag in TOLD if flag in flags]
    return f"{facts.get('model name', 'unknown')} ({' '.join(told)})"
