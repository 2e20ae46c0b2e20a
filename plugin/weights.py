"""Which weights a command uses: a file, or one that the archive's project keeps."""

from pathlib import Path

from model.atomic import write_atomically
from plugin.archive import Archive
from plugin.errors import ConfigError

CHECKPOINT_FILE = "checkpoint.safetensors"
"""The checkpoint that a training leaves in the project."""


def find_weights(given: str | None, archive: Archive | None, work: Path) -> Path:
    """Return the path of a checkpoint; the project's own when none is given.

    ``given`` is a file, or the name of one in the project's resource.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if given and Path(given).is_file():
        return Path(given)
    path = work / "weights" / Path(given or CHECKPOINT_FILE).name
    if archive is None or path.suffix != ".safetensors":
        raise _missing(given)
    for name in (path.name, path.with_suffix(".json").name):
        data = archive.read(None, name)
        if data is None:
            raise _missing(given)
        write_atomically(path.with_name(name), data)
    return path


def _missing(given: str | None) -> ConfigError:
    return ConfigError(
        "--checkpoint",
        found=f"no weights called '{given}'" if given else "no weights",
        needed="a .safetensors file, or its name in the project's resource BRS",
        mend="train a checkpoint first, or give a file",
    )
