"""The folder mlflow/ is for MLflow to read and never stands in the way of the library."""

import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT
from dotenv import dotenv_values
from typer.main import get_group

from msl.cli import app

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
    assert set(PROJECT["entry_points"]) == {"main", "run", "compare", "clean"}


@pytest.mark.parametrize("name", PROJECT["entry_points"])
def test_an_entry_point_can_start(name: str) -> None:
    entry = PROJECT["entry_points"][name]
    call = re.match(r"python -m msl\.cli (\w+) \{config\}", entry["command"])
    assert call is not None
    known = {option for part in get_group(app).commands[call[1]].params for option in part.opts}
    assert set(re.findall(r"--\w+", entry["command"])) <= known
    assert (FOLDER / entry["parameters"]["config"]["default"]).is_file()
    assert set(re.findall(r"\{(\w+)\}", entry["command"])) == set(entry["parameters"])


def test_mlflow_knows_every_setting_of_the_server() -> None:
    # Seconds of imports that only this test needs.
    import mlflow.cli
    import mlflow.environment_variables

    settings = dotenv_values(FOLDER / "server.env")
    known = {option.envvar for option in mlflow.cli.server.params}
    known |= set(dir(mlflow.environment_variables))
    assert set(settings) <= known
    assert str(settings["MLFLOW_BACKEND_STORE_URI"]).startswith("postgresql+psycopg:")
    assert settings["MLFLOW_SERVE_ARTIFACTS"] == "true"
