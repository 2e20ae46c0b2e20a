"""Stop a build whose version or XNAT label is not that of the package inside.

Run in the image: ``python check_label.py VERSION VARIANT COMMANDS``.
"""

import json
import sys
from importlib.metadata import version

PACKAGE = "xnat-brs"


def problems(given: str, tag: str, commands: str, *, installed: str) -> list[str]:
    """Return what is wrong with the label; an empty list of commands is not.

    ``tag`` is the image's own: a command that is read from the label runs that image.
    """
    found = []
    if given != installed:
        found.append(f"VERSION is '{given}', and the package is {installed}")
    try:
        entries = json.loads(commands)
    except ValueError:
        entries = None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        return [*found, "COMMANDS is no JSON list of commands"]
    for entry in entries:
        if entry.get("version") != installed:
            found.append(f"command '{entry.get('name')}' is not of {installed}")
        if not str(entry.get("image", "")).endswith(f":{tag}"):
            found.append(f"command '{entry.get('name')}' is not for the tag {tag}")
    return found


if __name__ == "__main__":
    version_given, variant, commands_given = sys.argv[1:]
    image_tag = version_given + ("-cpu" if variant == "cpu" else "")
    package_version = version(PACKAGE)
    wrong = problems(
        version_given, image_tag, commands_given, installed=package_version
    )
    sys.exit("\n".join(wrong) or None)
