"""Resident memory over 10,000 rounds of the quick start: driver, scheduler and two workers."""

import os
import sys
import tempfile
import time
from pathlib import Path

from herd import Herd
from memory_log import resident

from msl.cluster import DaskExecutor
from msl.config import load_config
from msl.rounds import train
from msl.tracking.jsonl import JsonlTracker

ROUNDS, FIRST, EVERY = 10_000, 500, 500


def main() -> int:
    """Print MB by role every 500 rounds, and the growth since the first of them."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    root = Path(__file__).resolve().parents[2]
    config = load_config(
        root / "configs" / "quickstart.yaml",
        [f"rounds={rounds}", "compare={}", "baselines=[]", "aggregator=geometric_median"],
    )
    with tempfile.TemporaryDirectory(prefix="msl-memory-") as place, Herd(Path(place), 2) as herd:
        pids = {"driver": os.getpid(), "scheduler": herd.scheduler.pid}
        pids |= {name: herd.process(name).pid for name in herd.nannies}
        sizes: dict[str, dict[int, float]] = {role: {} for role in pids}

        def look(report) -> None:
            done = report.round + 1
            if done % EVERY == 0:
                for role, pid in pids.items():
                    sizes[role][done] = resident(pid)
                told = "  ".join(f"{role} {sizes[role][done]:.1f}" for role in pids)
                print(f"round {done}: {told} MB", flush=True)

        start = time.monotonic()
        with JsonlTracker(str(Path(place) / "track")) as tracker, DaskExecutor(herd.client) as own:
            train(
                config.plan(), config.sources(), own,
                held_out=config.held_out(), tracker=tracker, on_report=look,
            )  # fmt: skip
        print(f"{rounds} rounds in {time.monotonic() - start:.0f} s")
    for role, seen in sizes.items():
        growth = 100 * (seen[rounds] / seen[FIRST] - 1)
        print(f"{role}: {seen[FIRST]:.1f} MB after {FIRST} rounds, {seen[rounds]:.1f} at the end, "
              f"{growth:+.1f} %")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
