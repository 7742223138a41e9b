"""The folder mlflow/ is for MLflow to read and never stands in the way of the library."""

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml
from conftest import ROOT

FOLDER = ROOT / "mlflow"
PROJECT = yaml.safe_load((FOLDER / "MLproject").read_text())


def test_it_holds_no_python() -> None:
    assert list(FOLDER.rglob("*.py")) == []


def test_import_mlflow_finds_the_library_from_the_root() -> None:
    code = "import mlflow; print(callable(mlflow.start_run))"
    # -c puts the working folder first on the path, where mlflow/ lies.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n", done.stderr


def test_the_project_has_its_entry_points() -> None:
    assert PROJECT["name"] == "msl"
    assert set(PROJECT["entry_points"]) == {"main", "run", "compare"}


@pytest.mark.parametrize("name", PROJECT["entry_points"])
def test_an_entry_point_can_start(name: str) -> None:
    entry = PROJECT["entry_points"][name]
    module = re.match(r"python -m (\S+) (run|compare) \{config\}", entry["command"])
    assert module is not None
    assert find_spec(module[1]) is not None
    assert (FOLDER / entry["parameters"]["config"]["default"]).is_file()
    assert set(re.findall(r"\{(\w+)\}", entry["command"])) == set(entry["parameters"])
