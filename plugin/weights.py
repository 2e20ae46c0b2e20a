"""Which weights a command uses: a file, one of the project, or the package's own."""

from importlib.resources import files
from pathlib import Path

from model.atomic import write_atomically
from model.errors import CheckpointError
from plugin.archive import Archive
from plugin.errors import ConfigError

CHECKPOINT_FILE = "checkpoint.safetensors"
"""The checkpoint that a training leaves in the project."""

DEFAULT = "default"
"""The checkpoint that comes with the package."""
NONE = "none"
"""No network: ranking by the body's boundary, training from scratch."""
NO_DEFAULT = "a build without a default checkpoint"
"""What a source tree is until weights are packed into it."""


def packaged_weights() -> Path | None:
    """Return the checkpoint of this build, None in a build without one."""
    path = Path(str(files("model") / "weights" / "default.safetensors"))
    return path if path.is_file() else None


def find_weights(given: str | None, archive: Archive | None, work: Path) -> Path | None:
    """Return the path of a checkpoint, None where ``given`` is ``none``.

    ``given`` is a file, the name of one in the project's resource, ``default`` or
    ``none``. Without it the project's own counts, then the package's; None where both
    are missing.

    Raises
    ------
    ConfigError
        If there is no checkpoint such as was given.
    """
    if given == NONE:
        return None
    if not given:
        return _from_project(CHECKPOINT_FILE, archive, work) or packaged_weights()
    if Path(given).is_file():
        return Path(given)
    if given == DEFAULT:
        found = packaged_weights()
    else:
        found = _from_project(Path(given).name, archive, work)
    if found is None:
        raise _missing(NO_DEFAULT if given == DEFAULT else f"no '{given}'")
    return found


def require_weights(given: str | None, archive: Archive | None, work: Path) -> Path:
    """Return the path of a checkpoint as ``find_weights``; none at all is refused."""
    path = find_weights(given, archive, work)
    if path is None:
        raise _missing(f"'{given}'" if given else f"none in the project, {NO_DEFAULT}")
    return path


def _from_project(name: str, archive: Archive | None, work: Path) -> Path | None:
    """Fetch a checkpoint of the project's resource, None when it is not there."""
    path = work / "weights" / name
    if archive is None or path.suffix != ".safetensors":
        return None
    weights = archive.read(None, name)
    manifest = archive.read(None, path.with_suffix(".json").name)
    if weights is None and manifest is None:
        return None
    if weights is None or manifest is None:
        raise _missing(f"'{name}' in the project without its other half")
    write_atomically(path, weights)
    write_atomically(path.with_suffix(".json"), manifest)
    return path


def check_same(path: Path, sha256: str, needed: str) -> None:
    """Refuse weights of a worker that are not those of the command.

    Raises
    ------
    CheckpointError
        If ``sha256``, of what is at ``path`` there, is not the one needed.
    """
    if sha256 != needed:
        raise CheckpointError(
            path.name,
            found="other weights on a worker than where the command runs",
            needed="the same file for all machines",
            mend="put it into a folder that all of them mount",
        )


def _missing(found: str) -> ConfigError:
    return ConfigError(
        "--checkpoint",
        found=found,
        needed="a .safetensors file, its name in the project's resource BRS, or "
        "a build with a default checkpoint",
        mend="give a file, train a checkpoint, or install a release",
    )
