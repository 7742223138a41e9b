"""Judge sources without training on them: the job "clean"."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

from msl.cell import leave_books, tracked
from msl.cluster import Executor
from msl.config import Config
from msl.errors import PlanError
from msl.ledger import Ledger
from msl.rounds import set_stage
from msl.trust import PacFilter, TrustAll

__all__ = ["clean"]


def clean(config: Config, executor: Executor, out: Path) -> Ledger:
    """Ask the trust rule about all sources; leave its verdict in a folder and with the tracker.

    Writes ``weights.json`` (name: weight in [0, 1]), ``trust.csv`` (a row per source) and
    ``trust.html`` (a page for people). Rows stay where they are.

    Parameters
    ----------
    config : Config
        Its sources and its trust rule; `PacFilter` where it believes everybody.
    executor : Executor
        Where the sources are.
    out : path
        A folder, made if it is not there.
    """
    plan = config.plan()
    if isinstance(plan.trust, TrustAll):
        plan = replace(plan, trust=PacFilter())
    sources = config.sources()
    if twice := sorted(name for name, n in Counter(s.name for s in sources).items() if n > 1):
        raise PlanError(f"weights are told by name, and several sources have these: {twice}")
    plan = replace(plan, guarantee=None)
    out.mkdir(parents=True, exist_ok=True)
    with tracked(config, f"{config.name} clean", plan) as tracker:
        stage = set_stage(plan, sources, None, executor)
        ledger = Ledger.open(stage.infos, stage.verdict)
        tracker.log_sources(stage.taking_part)
        leave_books(tracker, ledger, plan.corrupted)
    weights = {info.name: w for info, w in zip(stage.infos, stage.believed, strict=True)}
    (out / "weights.json").write_text(json.dumps(weights, indent=1) + "\n")
    ledger.table().to_csv(out / "trust.csv")
    (out / "trust.html").write_text(ledger.html(), encoding="utf-8")
    return ledger
