"""The runs that a storm disturbs, and the driver that is killed: `python job.py ADDRESS FOLDER N`.

Called again on a folder in which a run was broken off, it resumes that run.
"""

import faulthandler
import json
import os
import shutil
import signal
import sys
import time
from functools import cache
from pathlib import Path

from tasks import blob, held_out, plan

from msl.aggregators import CenteredClipping, Mean, Median
from msl.checkpoints import Checkpoints, run_of
from msl.cluster import LocalExecutor, open_executor
from msl.codecs import Identity
from msl.rounds import Plan, Result, train
from msl.sources import LoaderSource
from msl.tracking.jsonl import JsonlTracker

SOURCES, EVERY = 9, 100

PLANS = (
    {},
    {"per_round": 5},
    {"aggregator": CenteredClipping(), "per_round": 6, "seed": 8},
    {"aggregator": Median(), "codec": Identity(), "seed": 9},
    {"aggregator": Mean(), "attack": None, "corrupted": (), "per_round": 3, "seed": 10},
)
"""Changes of `tasks.plan`: with and without memories of sources, of the rule, and draws."""


def plan_of(number: int, rounds: int) -> Plan:
    """Return one of the plans; every policy is "raise", so all end in the undisturbed bits."""
    return plan(rounds=rounds, evaluate_every=50, **PLANS[number])


def slow_blob(rank: int, folder: str):
    """Rows that take as long to load as the file `delay` says, in seconds."""
    delay = Path(folder) / "delay"
    if delay.exists():
        time.sleep(float(delay.read_text() or 0))
    return blob(rank)


def sources_of(folder: Path) -> list[LoaderSource]:
    """Return the sources of a run; `folder` is where their delay is written."""
    return [LoaderSource(f"site-{r}", slow_blob, (r, str(folder))) for r in range(SOURCES)]


def traces(result: Result) -> dict:
    """Return all of a result but the time it took, as text in which NaN equals NaN."""
    reports = [{**vars(report), "seconds": None} for report in result.reports]
    return {
        "params": result.params.tobytes().hex(),
        "reports": [repr(report) for report in reports],
        "books": repr(result.ledger.columns() | {"place": None}),
    }


@cache
def undisturbed(number: int, rounds: int) -> dict:
    """Return the traces of the run that nobody touches, in this process."""
    with LocalExecutor() as alone:
        return traces(
            train(plan_of(number, rounds), sources_of(Path("/")), alone, held_out=held_out())
        )


def drive(address: str, folder: Path, number: int, rounds: int) -> None:
    """Run a plan to its end, or take up the run that was broken off; leave its traces."""
    kept = folder / "kept"
    resume = (kept / "run.json").exists()
    if not resume:
        # Killed before it had a name: nothing to go on with.
        shutil.rmtree(folder / "track", ignore_errors=True)
    with (
        JsonlTracker(str(folder / "track"), resume=run_of(str(kept)) if resume else None) as heard,
        open_executor(address) as executor,
    ):
        result = train(
            plan_of(number, rounds),
            sources_of(folder),
            executor,
            held_out=held_out(),
            tracker=heard,
            checkpoints=Checkpoints(str(kept), every=EVERY),
            resume=resume,
        )
    aside = folder / "traces.new"
    aside.write_text(json.dumps(traces(result)))
    os.replace(aside, folder / "traces.json")


def run_file(folder: Path) -> Path:
    """Return the file with a line per round."""
    return next((folder / "track").rglob("run.jsonl"), folder / "none")


if __name__ == "__main__":
    # A run that does not move is asked where it stands.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    drive(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
