"""Make a torchvision for a torch without CUDA, where only PyPI can be reached.

PyPI's torchvision for Linux is linked against CUDA; PyTorch's own index has the CPU
build, and a real image takes it from there. For a trial without that index, the
compiled operators, which FCN-ResNet50 does not use, are taken out of PyPI's wheel.

``python torchvision_without_cuda.py WHEEL FOLDER`` writes ``...+cpu-....whl``.
"""

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

LOCAL = "+cpu"
# torchvision describes two operators to torch without looking whether they were loaded.
DECLARED = """
for _name in ("nms", "qnms"):
    torch.library.define(
        f"torchvision::{_name}",
        "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    )
"""


def strip(wheel: Path, folder: Path) -> Path:
    """Write the wheel without its operators to ``folder``; return its path."""
    name, version, *tags = wheel.name.split("-")
    renamed = version + LOCAL
    target = folder / "-".join([name, renamed, *tags])
    before, after = f"{name}-{version}.dist-info", f"{name}-{renamed}.dist-info"
    with (
        zipfile.ZipFile(wheel) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        record = []
        for entry in source.namelist():
            if entry.endswith((".so", "/RECORD")):
                continue
            data = source.read(entry)
            if entry == f"{name}/extension.py":
                data += DECLARED.encode()
            if entry == f"{before}/METADATA":
                old, new = f"Version: {version}\n", f"Version: {renamed}\n"
                data = data.replace(old.encode(), new.encode(), 1)
            path = entry.replace(before, after)
            made.writestr(path, data)
            record.append(f"{path},{_digest(data)},{len(data)}")
        made.writestr(f"{after}/RECORD", "\n".join([*record, f"{after}/RECORD,,\n"]))
    return target


def _digest(data: bytes) -> str:
    raw = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return "sha256=" + raw.rstrip(b"=").decode()


if __name__ == "__main__":
    sys.stdout.write(f"{strip(Path(sys.argv[1]), Path(sys.argv[2]))}\n")
