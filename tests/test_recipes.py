"""Clusters: what docs/deployment.md says to type, and the recipes in configs/clusters."""

import ast
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from distributed import Client
from distributed.cli import dask_scheduler, dask_worker
from hand_made import by_hand
from tasks import blobs, plan

from msl.cluster import DaskExecutor, LocalExecutor, open_executor
from msl.rounds import train

ROOT = Path(__file__).resolve().parent.parent
CLUSTERS = ROOT / "configs" / "clusters"
SCRIPTS = sorted(CLUSTERS.glob("*.py"))
DEPLOYMENT = ROOT / "docs" / "deployment.md"


def installed(name: str) -> ModuleType:
    """Return a package that a recipe needs; without it there is nothing to hold the recipe to."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{name} cannot be imported ({error}): only the recipe's syntax was checked")


def called(script: Path, name: str) -> set[str]:
    """Return the names of the arguments that a script gives to a call."""
    calls = [
        node
        for node in ast.walk(ast.parse(script.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name
    ]
    assert calls, f"{script.name} never calls {name}"
    return {word.arg for call in calls for word in call.keywords if word.arg}


def accepted(*classes: type) -> set[str]:
    """Return the names that the constructors of classes, and of those they inherit from, take."""
    inits = [
        vars(base)["__init__"] for c in classes for base in c.mro() if "__init__" in vars(base)
    ]
    return {
        name
        for init in inits
        if inspect.isfunction(init)
        for name in inspect.signature(init).parameters
    }


def test_every_recipe_is_tested() -> None:
    assert {path.name for path in CLUSTERS.iterdir() if path.is_file()} == {
        "gpu.py",
        "kubernetes.yaml",
        "slurm.py",
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_compiles_and_says_how_to_start_it(script: Path) -> None:
    tree = ast.parse(script.read_text())
    compile(tree, str(script), "exec")
    said = ast.get_docstring(tree) or ""
    assert f"python configs/clusters/{script.name}" in said
    # Dask starts processes that import the script again.
    assert ast.unparse(tree.body[-1]).startswith("if __name__ == '__main__'")


def test_slurm_takes_what_the_recipe_gives() -> None:
    jobqueue = installed("dask_jobqueue")
    spec = importlib.util.spec_from_file_location("slurm", CLUSTERS / "slurm.py")
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    asked = recipe.machine(None)
    assert set(asked) <= accepted(jobqueue.SLURMCluster, jobqueue.slurm.SLURMJob)
    here = {"interface": "lo", "scheduler_options": {"dashboard_address": "127.0.0.1:0"}}
    with jobqueue.SLURMCluster(**{**asked, **here}) as cluster:
        script = cluster.job_script()
    assert "--nthreads 1" in script
    assert f"--nworkers {asked['processes']}" in script


def test_dask_cuda_takes_what_the_recipe_gives() -> None:
    cuda = installed("dask_cuda")
    from distributed import Worker

    given = called(CLUSTERS / "gpu.py", "LocalCUDACluster")
    assert given <= accepted(cuda.LocalCUDACluster, Worker)


def test_the_gpu_recipe_is_one_thread_and_one_resource_per_card() -> None:
    text = (CLUSTERS / "gpu.py").read_text()
    assert "threads_per_worker=1" in text
    assert 'resources={"GPU": 1}' in text
    assert {"threads_per_worker", "resources"} <= called(CLUSTERS / "gpu.py", "LocalCUDACluster")


@pytest.fixture
def kubernetes() -> Any:
    (found,) = yaml.safe_load_all((CLUSTERS / "kubernetes.yaml").read_text())
    return found


def test_the_kubernetes_recipe_fits_itself(kubernetes: Any) -> None:
    name, spec = kubernetes["metadata"]["name"], kubernetes["spec"]
    assert kubernetes["kind"] == "DaskCluster"
    (scheduler,) = spec["scheduler"]["spec"]["containers"]
    (worker,) = spec["worker"]["spec"]["containers"]
    assert scheduler["image"] == worker["image"]
    assert f"tls://{name}-scheduler:8786" in worker["args"]
    ports = {port["name"] for port in scheduler["ports"]}
    assert {port["targetPort"] for port in spec["scheduler"]["service"]["ports"]} <= ports
    assert spec["scheduler"]["service"]["selector"]["dask.org/cluster-name"] == name
    check_words(dask_scheduler.main, scheduler["args"][2:])
    check_words(dask_worker.main, worker["args"][2:])
    assert worker["args"][worker["args"].index("--nthreads") + 1] == "1"


def test_the_operator_takes_what_the_recipe_gives(kubernetes: Any) -> None:
    operator = installed("dask_kubernetes.operator")
    theirs = operator.make_cluster_spec(name="msl")
    assert kubernetes["apiVersion"] == theirs["apiVersion"]
    assert kubernetes["kind"] == theirs["kind"]
    for part in ("scheduler", "worker"):
        assert set(kubernetes["spec"][part]) <= {*theirs["spec"][part], "replicas"}
    ours, others = (
        spec["spec"]["scheduler"]["service"]["selector"] for spec in (kubernetes, theirs)
    )
    assert ours == others


def check_words(command: Any, words: list[str]) -> None:
    """Hold the options of a command line against those the command has."""
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    asked = {str(word).partition("=")[0] for word in words if str(word).startswith("--")}
    assert asked <= known


def test_what_the_page_says_to_type_exists() -> None:
    """Every `dask scheduler` and `dask worker` of the page has options that exist."""
    text = DEPLOYMENT.read_text().replace("\\\n", " ")
    commands = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
    found = re.findall(r"\bdask (scheduler|worker)\b([^`\n#]*)", text)
    assert {which for which, _ in found} == set(commands)
    for which, words in found:
        check_words(commands[which], words.split())
    for recipe in re.findall(r"configs/clusters/[a-z_.]+[a-z]", text):
        assert (ROOT / recipe).is_file(), recipe


def test_what_the_page_says_of_cards_exists() -> None:
    cli = installed("dask_cuda.cli")
    found = re.findall(r"\bdask cuda worker tcp([^`\n#]*)", DEPLOYMENT.read_text())
    assert found
    for words in found:
        check_words(cli.worker, words.split())


def test_two_machines_give_the_bits_of_one_process(tmp_path: Path) -> None:
    """Workers on two addresses, with names and resources, as an administrator starts them."""
    workers = {
        "north": ["--host", "127.0.0.1", "--resources", "GPU=1"],
        "south": ["--host", "127.0.0.2", "--resources", "GPU=1 DISK=2"],
    }
    short = plan(rounds=3)
    with LocalExecutor() as local:
        alone = train(short, blobs(), local)
    with by_hand(tmp_path, workers) as address:
        with Client(address) as client, DaskExecutor(client) as executor:
            known = client.scheduler_info(n_workers=-1)["workers"]
            assert {w["host"]: w["resources"] for w in known.values()} == {
                "127.0.0.1": {"GPU": 1.0},
                "127.0.0.2": {"GPU": 1.0, "DISK": 2.0},
            }
            assert set(executor.places) == set(known)
        with open_executor(address) as executor:
            together = train(short, blobs(), executor)
    np.testing.assert_array_equal(together.params, alone.params)
    assert len({info.place for info in together.sources}) == 2
