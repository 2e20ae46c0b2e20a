"""Write what an image holds, and under which licences, while it is built.

Run in the image: ``python bill_of_materials.py FOLDER`` writes ``sbom.cdx.json``
(CycloneDX 1.5: Python distributions and Debian packages) and ``licences.tsv``.
Standard library only: the product carries no tool for this.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

DEBIAN_FIELDS = "${Package}\\t${Version}\\t${Architecture}\\n"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, order=True)
class Component:
    """One package of the image."""

    name: str
    version: str
    licence: str
    purl: str
    """Package URL: how scanners name it."""

    def to_cyclonedx(self) -> Mapping[str, Any]:
        """Return the component as CycloneDX writes it."""
        record: dict[str, Any] = {
            "type": "library",
            "bom-ref": self.purl,
            "name": self.name,
            "version": self.version,
            "purl": self.purl,
        }
        if self.licence != UNKNOWN:
            record["licenses"] = [{"license": {"name": self.licence}}]
        return record


def from_python(found: Iterable[Distribution]) -> list[Component]:
    """Return the Python distributions, by name."""
    return sorted(
        Component(d.name, d.version, licence(d), _purl("pypi", d.name, d.version))
        for d in found
    )


def licence(distribution: Distribution) -> str:
    """Return what the metadata says: expression, short field, or classifiers."""
    metadata = distribution.metadata
    fields = ("License-Expression", "License")
    stated = next((metadata[f] for f in fields if metadata.get_all(f)), "")
    if stated.strip() and "\n" not in stated.strip():
        return stated.strip()
    kinds = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    if kinds:
        return "; ".join(kinds)
    # Some put the whole text there: its first line names it.
    return next(iter(stated.strip().splitlines()), UNKNOWN)


def from_debian(listing: str) -> list[Component]:
    """Return the Debian packages of a ``dpkg-query`` listing."""
    found = []
    for line in listing.splitlines():
        name, version, architecture = line.split("\t")
        purl = f"{_purl('deb/debian', name, version)}?arch={architecture}"
        licence = f"see /usr/share/doc/{name}/copyright"
        found.append(Component(name, version, licence, purl))
    return sorted(found)


def to_cyclonedx(components: Iterable[Component]) -> Mapping[str, Any]:
    """Return the bill of materials as a CycloneDX 1.5 document."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "components": [component.to_cyclonedx() for component in components],
    }


def _purl(kind: str, name: str, version: str) -> str:
    if kind == "pypi":
        name = name.lower().replace("_", "-")
    return f"pkg:{kind}/{quote(name)}@{quote(version, safe='')}"


def write(folder: Path) -> None:
    """Write both files for the running interpreter and its Debian."""
    query = ["dpkg-query", "--show", f"--showformat={DEBIAN_FIELDS}"]
    listing = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    components = [*from_python(distributions()), *from_debian(listing)]
    bill = json.dumps(to_cyclonedx(components), indent=1)
    (folder / "sbom.cdx.json").write_text(bill + "\n")
    rows = ["name\tversion\tlicence"]
    rows += [f"{c.name}\t{c.version}\t{c.licence}" for c in components]
    (folder / "licences.tsv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
