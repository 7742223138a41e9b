"""What docs/security.md promises of things from outside, and of rows."""

import pickle
import zipfile
from io import BytesIO
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
import pytest
import yaml
from mlflow.projects.utils import load_project
from tasks import CLASSES, FEATURES, blobs, held_out, plan

from msl import hosts, meeting
from msl.cluster import LocalExecutor
from msl.config import load_config
from msl.delivery import delivery_of
from msl.errors import DataError, PlanError
from msl.rounds import first_standing, run_round, set_stage
from msl.sources import FileSource

OBJECT = "!!python/object/apply:os.mkdir [{flag}]"


def test_a_configuration_makes_no_object(tmp_path: Path) -> None:
    flag, path = tmp_path / "flag", tmp_path / "config.yaml"
    attack = OBJECT.format(flag=flag)
    path.write_text(f"data: {{dataset: iris}}\nname: {attack}\n")
    yaml.unsafe_load(path.read_text())
    assert flag.exists()  # it is a weapon where somebody unpickles
    flag.rmdir()
    with pytest.raises(PlanError, match="not YAML: could not determine a constructor"):
        load_config(path)
    with pytest.raises((PlanError, yaml.YAMLError)):
        load_config("configs/quickstart.yaml", [f"name={attack}"])
    assert not flag.exists()


@pytest.mark.parametrize("entry", ["run", "compare", "clean"])
def test_mlflow_quotes_what_a_project_is_given(entry: str) -> None:
    project = load_project("mlflow")
    given = {"config": "x; touch /tmp/flag", "store": "$(touch /tmp/flag)"}
    command = project.get_entry_point(entry).compute_command(given, None)
    assert "'x; touch /tmp/flag'" in command
    assert "'$(touch /tmp/flag)'" in command


def test_a_shape_that_a_file_cannot_fill_costs_nothing(tmp_path: Path) -> None:
    claim, y = BytesIO(), BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 4)}
    np.lib.format.write_array_header_1_0(claim, header)
    np.save(y, np.zeros(4, np.int64))
    path = tmp_path / "lie.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", claim.getvalue())
        archive.writestr("y.npy", y.getvalue())
    before = getrusage(RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=f"'s', file {path}: cannot read it"):
        FileSource("s", str(path)).load()
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_no_row_is_in_what_leaves_a_host() -> None:
    """Deliveries go to where updates meet, facts and reports to the client."""
    with LocalExecutor() as executor:
        stage = set_stage(plan(), blobs(), held_out(), executor)
        report, standing = run_round(stage, first_standing(stage), 0)
        (place,) = stage.hosts
        host, worked = stage.hosts[place], standing.worked[place]
        leaving = (
            delivery_of(worked),
            hosts.infos_of(host),
            meeting.model_of(standing.met),
            report,
        )
        sent = pickle.dumps(leaving)
        rows = [row for data in host.data.values() for row in data.X]
    assert len(rows) == 7 * 40
    assert not [row for row in rows if row.tobytes() in sent]
    # The search would find one: with the rows themselves it does.
    assert rows[0].tobytes() in pickle.dumps((leaving, dict(host.data)))


def test_a_solver_is_given_its_own_source_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalExecutor() as executor:
        stage = set_stage(plan(), blobs(3), None, executor)
        (host,) = stage.hosts.values()
        owners = {id(data): rank for rank, data in host.data.items()}
        solver = type(stage.plan.algorithm.solver(stage.plan.model))
        seen, each = [], solver.solve_each

        def spy(self, params, sources, memories, keys, round):
            seen.extend(owners[id(source)] for source in sources)
            return each(self, params, sources, memories, keys, round)

        monkeypatch.setattr(solver, "solve_each", spy)
        standing = first_standing(stage)
        for round in range(2):
            _, standing = run_round(stage, standing, round)
    assert seen == [0, 1, 2, 0, 1, 2]
    assert all(data.X.shape[1] == FEATURES for data in host.data.values())
    assert stage.plan.n_classes == CLASSES
