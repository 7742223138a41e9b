"""Holds the house up: an import may only go down, and some libraries live in one room each."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOTS = {"msl": ROOT, "msl_kernels": ROOT / "kernels", "msl_pipelines": ROOT / "pipelines"}

FLOORS = [
    "msl_kernels",
    "msl.errors msl.random msl.types msl.parts msl.finite msl.cluster",
    "msl.models msl.codecs msl.aggregators msl.samplers msl.attacks msl.sources msl.tracking "
    "msl.waiting msl.bounds msl.structures",
    "msl.algorithms msl.trust",
    "msl.collectives",
    "msl.plan msl.fit msl.attempt msl.delivery msl.batch msl.hosts msl.work msl.terms msl.blocks "
    "msl.meeting msl.dealing msl.stage msl.moving msl.round msl.in_time msl.rounds msl.reports "
    "msl.ledger msl.ledger_page msl.checkpoints msl.peers",
    "msl.config msl.settings msl.cli msl.estimators msl.comparison msl.cell msl.grid msl.outcome "
    "msl.baselines "
    "msl.ranking msl.plots msl.report_plots msl.comparison_page msl.progress msl.cleaning "
    "msl.doctor msl.doctor_cluster",
    "msl msl_pipelines",  # msl itself: what msl/__init__.py shows to users
]
FLOOR = {unit: number for number, units in enumerate(FLOORS) for unit in units.split()}

# A library, and the only modules that may import it.
HOMES = {
    "distributed": ("msl.cluster",),
    "dask.distributed": ("msl.cluster",),
    "mlflow": ("msl.tracking.mlflow", "msl.tracking.model"),
    "sklearn": ("msl.estimators", "msl.sources", "msl_pipelines"),
    "torch": ("msl.models",),  # and files named torch*.py anywhere
}


def within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def unit_of(name: str) -> str:
    """Return what of FLOORS a dotted name lies in; a name msl/__init__.py shows lies in "msl"."""
    two = ".".join(name.split(".")[:2])
    return two if two in FLOOR else name.split(".")[0]


def is_family(unit: str) -> bool:
    return unit != "msl" and (ROOTS[unit.split(".")[0]] / unit.replace(".", "/")).is_dir()


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full dotted names a module imports, at any depth, but for TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (name for other in node.orelse for name in imports(ast.Module([other], [])))
        else:
            yield from imports(node)


def fault(module: str, name: str) -> str | None:
    """Return what is wrong when `module` imports `name`; None when nothing is."""
    if name.startswith("."):
        return "write the import in full"
    for library, homes in HOMES.items():
        at_home = any(within(module, home) for home in homes)
        torch_file = library == "torch" and module.split(".")[-1].startswith("torch")
        if within(name, library) and not at_home and not torch_file:
            return f"only {', '.join(homes)} may import {library}"
    if name.split(".")[0] not in ROOTS:
        return None
    here, there = unit_of(module), unit_of(name)
    if FLOOR[there] > FLOOR[here]:
        return f"floor {FLOOR[here]} must not import from floor {FLOOR[there]}"
    same_floor = FLOOR[there] == FLOOR[here] and there != here
    if same_floor and is_family(there) and not within(name, f"{there}.base"):
        return f"of a family on the same floor, only {there}.base"
    return None


def faults(module: str, source: str) -> list[str]:
    wrong = [(name, fault(module, name)) for name in imports(ast.parse(source))]
    return [f"{module} imports {name}: {why}" for name, why in wrong if why]


def test_an_import_only_goes_down() -> None:
    found = []
    for package, root in ROOTS.items():
        for file in sorted((root / package).rglob("*.py")):
            module = ".".join(file.relative_to(root).with_suffix("").parts)
            found += faults(module.removesuffix(".__init__"), file.read_text())
    assert found == []


def test_every_file_and_folder_of_msl_has_a_floor() -> None:
    modules = {f"msl.{entry.stem}" for entry in (ROOT / "msl").glob("[a-z]*.py")}
    families = {f"msl.{file.parent.name}" for file in (ROOT / "msl").glob("*/__init__.py")}
    assert modules | families <= set(FLOOR)


@pytest.mark.parametrize(
    ("module", "source", "why"),
    [
        ("msl_kernels.order", "from msl.errors import DataError", "floor 0 must not"),
        ("msl.codecs.none", "from msl.rounds import Plan", "floor 2 must not"),
        ("msl.codecs.none", "def f():\n    import msl.rounds", "floor 2 must not"),
        ("msl.rounds", "from msl import MultiSourceClassifier", "floor 5 must not"),
        ("msl.errors", "from msl.cluster import make", "only msl.cluster.base"),
        ("msl.codecs", "from msl.models import make", "only msl.models.base"),
        ("msl.codecs", "from .base import Codec", "in full"),
        ("msl.rounds", "from dask import distributed", "may import dask.distributed"),
        ("msl.tracking.base", "import mlflow.sklearn", "may import mlflow"),
        ("msl.rounds", "import sklearn", "may import sklearn"),
        ("msl.codecs.lattice", "import torch", "may import torch"),
    ],
)
def test_a_bad_import_is_caught(module: str, source: str, why: str) -> None:
    (found,) = faults(module, source)
    assert why in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("msl.codecs.none", "from msl.codecs.payload import Payload"),
        ("msl.codecs.none", "if TYPE_CHECKING:\n    from msl.rounds import Plan"),
        ("msl.algorithms.base", "from msl.models.base import Model"),
        ("msl.sources.files", "from msl.models.base import Model"),
        ("msl.parts", "from msl.errors import PlanError"),
        ("msl.algorithms.torch_sgd", "import torch"),
        ("msl.tracking.mlflow", "import mlflow"),
        ("msl", "from msl.estimators import MultiSourceClassifier"),
        ("msl_pipelines.bench", "from msl import MultiSourceClassifier"),
    ],
)
def test_a_good_import_passes(module: str, source: str) -> None:
    assert faults(module, source) == []
