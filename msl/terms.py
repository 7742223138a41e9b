"""A round that did not wait for everyone: what came, what of it is used, and whether it is enough.

Plain functions that run where payloads meet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from msl.delivery import Delivery
from msl.errors import MslError, PlanError
from msl.plan import Plan
from msl.waiting.base import Waiting

__all__ = ["Came", "Fate", "Terms", "enough", "sort", "suits"]

Fate: TypeAlias = Literal["away", "spare", "used"]
"""Of a delivery: it has not come, came and was thrown away, or was used."""


@dataclass(frozen=True)
class Terms:
    """What the client knows of the places that are at work.

    Parameters
    ----------
    asked : tuple of int
        Ranks that got the model of this round.
    k : int
        How many were to be heard.
    rounds : tuple of int
        Whose model each delivery is of.
    ranks : tuple of tuple of int
        Whose updates each is to bring.
    bytes_total : int, optional
        What it was after this round, if the round is a replay; then what comes is what was used.
    """

    asked: tuple[int, ...]
    k: int
    rounds: tuple[int, ...]
    ranks: tuple[tuple[int, ...], ...]
    bytes_total: int | None = None


@dataclass(frozen=True)
class Came:
    """What a round has to work with.

    Parameters
    ----------
    deliveries : tuple of Delivery
        That are used.
    fates : tuple of Fate
        Of all.
    ages : mapping from int to int
        By how many rounds the model of a rank's update is old, where it is.
    late : mapping from int to str
        Ranks that were asked in this round and did not come, and why.
    spare : int
        Payload bytes that came too late.
    """

    deliveries: tuple[Delivery, ...]
    fates: tuple[Fate, ...] = ()
    ages: Mapping[int, int] = field(default_factory=dict)
    late: Mapping[int, str] = field(default_factory=dict)
    spare: int = 0

    def unused(self) -> "Came":
        """Return it for a round that goes by without a step."""
        fates: tuple[Fate, ...] = tuple("spare" if f == "used" else f for f in self.fates)
        return replace(self, fates=fates, ages={})


def sort(
    waiting: Waiting, deliveries: Sequence[Delivery | None], terms: Terms | None, round: int
) -> Came:
    """Return which deliveries are used; all of them where everyone was waited for."""
    if terms is None:
        return Came(tuple(d for d in deliveries if d is not None))
    used: list[Delivery] = []
    fates: list[Fate] = []
    ages: dict[int, int] = {}
    late: dict[int, str] = {}
    spare = 0
    for delivery, begun, ranks in zip(deliveries, terms.rounds, terms.ranks, strict=True):
        if delivery is None:
            fates.append("away")
            if begun == round and not waiting.folds:
                late |= dict.fromkeys(ranks, "late: no word when the round was closed")
        elif begun == round or waiting.folds:
            fates.append("used")
            used.append(delivery)
            late |= {rank: delivery.dropped[rank] for rank in delivery.late}
            ages |= dict.fromkeys(ranks, round - begun) if begun < round else {}
        else:
            fates.append("spare")
            spare += sum(sent.payload.nbytes for sent in delivery.sent)
    return Came(tuple(used), tuple(fates), ages, late, spare)


def enough(
    plan: Plan, terms: Terms | None, sent: int, dropped: Mapping[int, str], round: int
) -> bool:
    """Return whether so many updates make a step.

    Raises
    ------
    MslError
        When they do not and the plan ends with a failure; always when everyone was waited for.
    """
    if terms is None or terms.bytes_total is not None:
        if sent or terms:
            return sent > 0
        raise MslError(f"no update in round {round}: {_listed(dropped)}")
    # A full buffer is used, whatever of it is fit: a liar's NaN could else spoil it every time.
    least = 1 if plan.waiting.folds else plan.waiting.least(terms.k)
    if sent >= least and suits(plan, sent):
        return True
    if plan.on_failure == "drop":
        return False
    raise MslError(
        f"round {round} needs {least} updates and got {sent}: {_listed(dropped) or 'none came'}; "
        "give it more seconds or a smaller quorum, or let such rounds go by with on_failure: drop"
    )


def suits(plan: Plan, sent: int) -> bool:
    """Return whether the aggregator can do with so many updates."""
    if plan.aggregator.per_source:
        return True
    try:
        plan.aggregator.check(sent)
    except PlanError:
        return False
    return True


def _listed(dropped: Mapping[int, str]) -> str:
    return "; ".join(f"source {rank}: {why}" for rank, why in sorted(dropped.items())[:10])
