"""Resident memory over 10,000 rounds of the quick start: driver, scheduler and two workers."""

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from herd import Herd
from memory_log import resident

from msl.checkpoints import Checkpoints
from msl.cluster import DaskExecutor, LocalExecutor
from msl.config import load_config
from msl.rounds import train
from msl.tracking import make_tracker

FIRST, EVERY = 500, 500


def main() -> int:
    """Print MB by role every 500 rounds, and the growth since the first of them."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=10_000)
    asked.add_argument("--alone", action="store_true", help="in this process, without a cluster")
    asked.add_argument("--mlflow", action="store_true", help="a sqlite store in place of files")
    asked.add_argument("--kept", type=int, help="rounds between two checkpoints")
    asked = asked.parse_args()
    root = Path(__file__).resolve().parents[2]
    config = load_config(
        root / "configs" / "quickstart.yaml",
        [f"rounds={asked.rounds}", "compare={}", "baselines=[]", "aggregator=geometric_median"],
    )
    pids = {"driver": os.getpid()}
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="msl-memory-")))
        if asked.alone:
            executor = stack.enter_context(LocalExecutor())
        else:
            herd = stack.enter_context(Herd(place, 2))
            pids["scheduler"] = herd.scheduler.pid
            pids |= {name: herd.process(name).pid for name in herd.nannies}
            executor = stack.enter_context(DaskExecutor(herd.client))
        uri = f"sqlite:///{place}/runs.db" if asked.mlflow else f"jsonl:{place}/track"
        tracker = stack.enter_context(make_tracker(uri))
        kept = Checkpoints(str(place / "kept"), every=asked.kept) if asked.kept else None
        sizes: dict[str, dict[int, float]] = {role: {} for role in pids}

        def look(report) -> None:
            done = report.round + 1
            if done % EVERY == 0:
                for role, pid in pids.items():
                    sizes[role][done] = resident(pid)
                told = "  ".join(f"{role} {sizes[role][done]:.1f}" for role in pids)
                print(f"round {done}: {told} MB", flush=True)

        start = time.monotonic()
        train(
            config.plan(), config.sources(), executor,
            held_out=config.held_out(), tracker=tracker, on_report=look, checkpoints=kept,
        )  # fmt: skip
        print(f"{asked.rounds} rounds in {time.monotonic() - start:.0f} s")
    for role, seen in sizes.items():
        growth = 100 * (seen[asked.rounds] / seen[FIRST] - 1)
        print(f"{role}: {seen[FIRST]:.1f} MB after {FIRST} rounds, {seen[asked.rounds]:.1f} at the "
              f"end, {growth:+.1f} %")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
