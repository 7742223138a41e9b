"""The folders install as three packages, and the version, pins and caches agree."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT, kernels_key
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = [ROOT / "msl", ROOT / "kernels" / "msl_kernels", ROOT / "pipelines" / "msl_pipelines"]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda folder: folder.name)
def test_every_folder_with_code_is_a_package(package: Path) -> None:
    folders = {file.parent for file in package.rglob("*.py")}
    # A folder without __init__.py works from the checkout and is missing from the wheel.
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
    assert (package / "py.typed").is_file()


@pytest.mark.parametrize("name", ["kernels", "pipelines"])
def test_the_outer_folders_are_not_to_be_imported(name: str) -> None:
    ruff = [sys.executable, "-m", "ruff", "check", "--stdin-filename", "msl/example.py", "-"]
    done = subprocess.run(ruff, input=f"import {name}\n", capture_output=True, text=True, cwd=ROOT)
    assert f"`{name}` is banned: import msl_{name}" in done.stdout


def test_the_changelog_starts_with_this_version() -> None:
    versions = re.findall(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == PROJECT["version"]


def test_every_dependency_is_pinned_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    # Only public versions: no address, no path, no local label such as 2.13.0+cpu.
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    pins = {canonicalize_name(name): pin for name, pin in (line.split("==") for line in lines)}
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    for needed in map(Requirement, wanted):
        assert needed.specifier.contains(pins[canonicalize_name(needed.name)]), needed


def test_plain_pytest_and_make_share_one_kernel_cache() -> None:
    show = ["make", "--silent", "--eval", "show-key: ; @echo $(KEY)", "show-key"]
    done = subprocess.run(show, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == kernels_key()


def test_a_changed_kernel_gets_a_new_cache(tmp_path: Path) -> None:
    kernel = tmp_path / "kernels" / "pack.py"
    kernel.parent.mkdir()
    kernel.write_text("bits = 4\n")
    before = kernels_key(tmp_path)
    kernel.write_text("bits = 8\n")
    assert kernels_key(tmp_path) != before
