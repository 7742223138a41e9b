"""Memories follow their sources when these are dealt anew during a run."""

from collections import defaultdict

from msl.delivery import memories_of, worked_before
from msl.stage import Stage, Standing

__all__ = ["moved"]


def moved(standing: Standing, before: Stage, after: Stage) -> Standing:
    """Return the standing of the stage before as one of the stage after, on the same executor.

    Only what changes its place travels, from worker to worker.
    """
    if after.ranks == before.ranks:
        return standing
    submit, worked = after.executor.submit, {}
    for place, ranks in after.ranks.items():
        origins: dict[str, list[int]] = defaultdict(list)
        for rank in ranks:
            origins[before.place_of[rank]].append(rank)
        kept = [
            submit(memories_of, standing.worked[origin], tuple(mine), at=origin)
            for origin, mine in origins.items()
            if origin in standing.worked
        ]
        if kept:
            here = standing.worked.get(place)
            worked[place] = submit(worked_before, kept, here, ranks, at=place)
    return Standing(standing.met, worked)
