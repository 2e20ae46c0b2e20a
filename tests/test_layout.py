"""The generic import names mean this project, and the layers hold."""

import importlib.util
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["model", "plugin"])
def test_the_packages_imported_are_this_checkouts(name: str) -> None:
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin == str(ROOT / name / "__init__.py")


def test_the_installed_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert version(project["name"]) == project["version"]


def test_tests_are_no_package_and_import_no_neighbour_by_path() -> None:
    assert not (ROOT / "tests" / "__init__.py").exists()
