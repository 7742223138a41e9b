"""The command line: msl run | compare | clean | doctor | sync | ui | list."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from subprocess import call
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from msl import (
    aggregators,
    algorithms,
    attacks,
    codecs,
    collectives,
    models,
    samplers,
    sources,
    trust,
    waiting,
)
from msl.cell import run_cell, tracked
from msl.checkpoints.base import Checkpoints, run_of
from msl.cleaning import clean
from msl.cluster import Executor, open_executor
from msl.codecs.facts import facts
from msl.comparison import run_grid
from msl.config import Config, load_config
from msl.doctor import diagnose, findings_table
from msl.errors import MslError, PlanError
from msl.outcome import Outcome
from msl.parts import summary
from msl.progress import Progress, ranking_of, stragglers_of, table_of, trust_of
from msl.tracking import flush

__all__ = ["app", "main"]

app = typer.Typer(
    help="Learn one model from many sources that stay where they are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

FAMILIES = {
    "aggregators": aggregators.AGGREGATORS,
    "algorithms": algorithms.ALGORITHMS,
    "attacks": attacks.ATTACKS,
    "codecs": codecs.CODECS,
    "collectives": collectives.COLLECTIVES,
    "models": models.MODELS,
    "partitioners": sources.PARTITIONERS,
    "samplers": samplers.SAMPLERS,
    "trust": trust.TRUST,
    "waiting": waiting.WAITING,
}

File = Annotated[str, typer.Argument(help="A YAML file, for example configs/quickstart.yaml.")]
Scheduler = Annotated[str | None, typer.Option(help="A running Dask scheduler, tcp://host:port.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: --set rounds=20.")
]


Resume = Annotated[
    str | None, typer.Option(help="A run to go on with: its id, or the folder of its checkpoints.")
]


@app.command()
def run(
    file: File, scheduler: Scheduler = None, set_: Changes = None, resume: Resume = None
) -> None:
    """Train one model and track every round."""
    config = load_config(file, set_ or ())
    console = Console()
    checkpoints, run_id = _resumed(config, resume) if resume else (None, None)
    # Before anything of a run is touched that another driver may be at.
    held = checkpoints.held() if checkpoints else nullcontext()
    with held, _executor(config, scheduler) as executor, Progress(console) as progress:
        on_report = progress.start(config.name, config.rounds)
        with tracked(config, config.name, config.plan(), resume=run_id) as tracker:
            checkpoints = checkpoints or config.checkpoint.of(tracker.run_id)
            if checkpoints:
                console.print(f"checkpoints: {checkpoints.folder}", soft_wrap=True)
            result = run_cell(
                config, executor, tracker, on_report, checkpoints, resume=resume is not None
            )
    if config.held_out() is not None:
        console.print(table_of([Outcome.of(config.name, result.reports)]))
    if stragglers := stragglers_of(result.ledger):
        console.print(stragglers)
    _where(console, config)


@app.command(name="compare")
def compare_(file: File, scheduler: Scheduler = None, set_: Changes = None) -> None:
    """Run a grid of cells and its baselines, one parent run and a child per cell."""
    config = load_config(file, set_ or ())
    console = Console()
    with _executor(config, scheduler) as executor, Progress(console) as progress:
        comparison = run_grid(config, executor, progress.start)
    ranks, _ = comparison.ranks()
    console.print(ranking_of(ranks) if ranks else table_of(comparison.outcomes))
    _where(console, config)
    if comparison.failed:
        lines = [f"{name}: {why}" for name, why in comparison.failed.items()]
        raise MslError(
            f"{len(lines)} cell(s) failed; start again to redo them\n" + "\n".join(lines)
        )


@app.command(name="clean")
def clean_(
    file: File,
    out: Annotated[Path, typer.Option(help="Folder for weights.json, trust.csv and trust.html.")],
    scheduler: Scheduler = None,
    set_: Changes = None,
) -> None:
    """Judge the sources without training on them: report and weights."""
    config = load_config(file, set_ or ())
    console = Console()
    with _executor(config, scheduler) as executor:
        console.print(trust_of(clean(config, executor, out)))
    console.print(f"report: {out / 'trust.html'}", soft_wrap=True)
    _where(console, config)


@app.command()
def doctor(
    file: Annotated[
        str | None, typer.Argument(help="A YAML file, whose sources and store are tried too.")
    ] = None,
    scheduler: Scheduler = None,
    set_: Changes = None,
) -> None:
    """Check cluster, sources and store before a run, and say what to fix."""
    config = load_config(file, set_ or ()) if file else None
    tls = config.cluster.tls.made() if config and config.cluster.tls else None
    findings = diagnose(config, scheduler, tls)
    Console().print(findings_table(findings))
    if any(finding.level == "fail" for finding in findings):
        raise typer.Exit(1)


@app.command()
def sync(
    spool: Annotated[
        str | None,
        typer.Argument(help="The folder that the warning named; runs/spool if left out."),
    ] = None,
) -> None:
    """Send what a tracking server that was away has not got yet."""
    done = flush(None, spool)
    console = Console()
    console.print(f"sent: {len(done.sent)} run(s)")
    for name, why in done.waiting.items():
        console.print(f"still waiting: {name}: {why}", soft_wrap=True)
    for name in done.refused:
        console.print(f"refused by the store, see {name}", soft_wrap=True)
    if done.waiting or done.refused:
        raise typer.Exit(1)


@app.command()
def ui(
    store: Annotated[str, typer.Option(help="The tracking store.")] = "sqlite:///runs/mlflow.db",
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
) -> None:
    """Open the MLflow UI on a store."""
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store]
    raise typer.Exit(call([*command, "--port", str(port)]))


@app.command(name="list")
def list_(
    family: Annotated[
        str | None, typer.Argument(help="One of the families; all if left out.")
    ] = None,
) -> None:
    """List what exists, one line each; of codecs also what they cost and need."""
    if family is not None and family not in FAMILIES:
        raise PlanError(f"unknown family {family!r}; choose from: {', '.join(FAMILIES)}")
    console = Console()
    for title, table in FAMILIES.items():
        if family in (None, title):
            console.print(f"[bold]{title}[/bold]")
            lines = Table.grid(padding=(0, 2))
            for name, part in table.items():
                known = facts(part) if issubclass(part, codecs.Codec) else ()
                lines.add_row(f"  {name}", *known, escape(summary(part)))
            console.print(lines)


def _resumed(config: Config, resume: str) -> tuple[Checkpoints, str | None]:
    """Return the checkpoints that a run id or a folder means, and the run to go on tracking."""
    if config.checkpoint.every is None:
        raise PlanError("--resume: set checkpoint.every, as in the run that is resumed")
    is_folder = "/" in resume or Path(resume).is_dir()
    folder = resume if is_folder else f"{config.checkpoint.folder}/{resume}"
    return Checkpoints(folder, config.checkpoint.every, config.checkpoint.keep), run_of(folder)


@contextmanager
def _executor(config: Config, scheduler: str | None) -> Iterator[Executor]:
    address = scheduler or config.cluster.scheduler
    tls = config.cluster.tls.made() if config.cluster.tls else None
    cluster = config.cluster
    with open_executor(
        address,
        cluster.workers,
        tls=tls,
        at_least=cluster.at_least,
        patience=cluster.patience,
        cache=cluster.cache,
    ) as executor:
        yield executor


def _where(console: Console, config: Config) -> None:
    uri = config.tracking.uri
    if uri == "none":
        return
    console.print(f"store: {uri}, experiment: {config.tracking.experiment}", soft_wrap=True)
    store = "" if uri == "sqlite:///runs/mlflow.db" else f" --store {uri}"
    served = uri.startswith(("http://", "https://"))
    page = uri if served else f".venv/bin/msl ui{store}"
    if not uri.startswith("jsonl:"):
        console.print(f"look at it: [bold]{page}[/bold]", soft_wrap=True)


def main() -> None:
    """Run the command line; a mistake of the user is one clear line and exit code 2."""
    try:
        app()
    except PlanError as error:
        Console(stderr=True).print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        raise SystemExit(2) from error
    except MslError as error:
        Console(stderr=True).print(f"[red]failed:[/red] {escape(str(error))}", soft_wrap=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
