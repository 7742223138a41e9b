"""Run benchmarks: ``python -m msl_pipelines.bench [PART]``, one of PARTS or all."""

import sys

from msl_pipelines.bench import (
    accuracy,
    aggregators,
    codecs,
    estimators,
    kernels,
    large_models,
    many_sources,
    rounds,
    tracking,
    waiting,
)

PARTS = {
    "rounds": rounds.main,
    "kernels": kernels.main,
    "codecs": codecs.main,
    "accuracy": accuracy.main,
    "aggregators": aggregators.main,
    "tracking": tracking.main,
    "estimators": estimators.main,
    "waiting": waiting.main,
    "many_sources": many_sources.main,
    "large_models": large_models.main,
}


def main(part: str = "all") -> None:
    """Run one part, or all of them."""
    if part != "all" and part not in PARTS:
        raise SystemExit(f"unknown part {part!r}; choose from: all, {', '.join(PARTS)}")
    for name, run in PARTS.items():
        if part in ("all", name):
            run()


if __name__ == "__main__":
    main(*sys.argv[1:2])
