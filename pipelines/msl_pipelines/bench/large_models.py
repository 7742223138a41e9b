"""Exchange of large models on two workers: CPU seconds by phase and peak memory, beside the floors.

Four sources, two a worker, whose updates cost next to nothing: what is left of a round is
encoding, the wire, decoding, aggregation, the step and the model's way down. Floors: every byte
that has to cross the loopback at the price of a plain socket, every byte that has to be read or
written at the price of a memory copy; and the arrays that have to exist at the same time.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from msl import meeting
from msl.aggregators import make as make_aggregator
from msl.cluster import open_executor
from msl.cluster.base import Executor, Handle
from msl.codecs import make as make_codec
from msl.delivery import Delivery, delivery_of
from msl.meeting import Met
from msl.round import choose, run_round
from msl.rounds import Plan, set_stage
from msl.sources import ArraySource
from msl.stage import Stage, Standing, first_standing
from msl.work import work
from msl_pipelines.bench.flat_model import FlatModel, Told
from msl_pipelines.bench.prices import Prices, cpu_of, peak, prices, reset_peak

__all__ = ["main"]

SIZE = 25_000_000
SOURCES, ROUNDS = 4, 4
CODECS: dict[str, dict[str, Any]] = {
    "none": {"name": "none"},
    "maxmin 4": {"name": "maxmin", "bits": 4},
    "topk 1 % + feedback": {"name": "error_feedback", "codec": {"name": "topk"}},
}
AGGREGATORS = ("mean", "median")
PHASES = ("down", "solve", "encode", "wire", "decode", "aggregate, step")


@dataclass(frozen=True)
class Costs:
    """What a round costs: CPU seconds of both workers, wall seconds, peaks in models by process.

    `ratio` is a payload's bytes over a model's.
    """

    phases: dict[str, float]
    cpu: float
    wall: float
    peaks: dict[str, float]
    ratio: float


def same(value: Any) -> Any:
    """Return the value, now here."""
    return value


def source_costs(plan: Plan, met: Met) -> tuple[float, float]:
    """Return the CPU seconds of solving and of encoding for one source."""
    params, solver = met.state.params, plan.algorithm.solver(plan.model)
    task = (params, _rows(0).load(), None, 1, 0)
    update, _ = solver.solve(*task)
    update.vector.flags.writeable = False
    memory = plan.wire.init(len(params))
    return cpu_of(solver.solve, *task), cpu_of(plan.wire.encode, update.vector, memory)


def decode_costs(delivery: Delivery) -> tuple[float, int]:
    """Return the CPU seconds of decoding a payload, and its bytes."""
    payload = delivery.sent[0].payload
    row = np.zeros(payload.size, np.float32)
    return cpu_of(payload.decode, out=row), payload.nbytes


def _rows(rank: int) -> ArraySource:
    return ArraySource(f"s{rank}", np.ones((8, 2), np.float32), np.arange(8) % 2)


def measure(executor: Executor, codec: str, aggregator: str, size: int) -> Costs:
    """Run some rounds, and one more in slow motion."""
    plan = Plan(
        model=FlatModel(size), algorithm=Told(), aggregator=make_aggregator(aggregator),
        codec=make_codec(**CODECS[codec]), rounds=ROUNDS + 1, guarantee=None,
    )  # fmt: skip
    base = [*_everywhere(executor, reset_peak), reset_peak()]
    stage = set_stage(plan, [_rows(rank) for rank in range(SOURCES)], None, executor)
    standing, wall, cpu = first_standing(stage), [], [_cpu(executor)]
    for round in range(ROUNDS):
        report, standing = run_round(stage, standing, round)
        wall.append(report.seconds["round"])
        cpu.append(_cpu(executor))
    tops = [*_everywhere(executor, peak), peak()]
    names = ["root" if place == stage.root else "other" for place in executor.places]
    peaks = {
        name: (top - at) / (4 * size)
        for name, top, at in zip([*names, "driver"], tops, base, strict=True)
    }
    phases, nbytes = _slowly(stage, standing)
    # In the first round kernels compile.
    return Costs(
        phases, float(np.median(np.diff(cpu)[1:])), float(np.median(wall[1:])), peaks,
        nbytes / (4 * size),
    )  # fmt: skip


def _slowly(stage: Stage, standing: Standing) -> tuple[dict[str, float], int]:
    """Return the CPU seconds of each phase of a round, and the bytes of a payload."""
    executor, root, submit = stage.executor, stage.root, stage.executor.submit
    other = next(place for place in executor.places if place != root)
    model, seconds = {root: submit(meeting.model_of, standing.met, at=root)}, {}
    model[other], seconds["down"] = _paid(executor, other, same, model[root])
    deliveries = {}
    for place, mine in choose(stage, ROUNDS).items():
        host, memories = stage.hosts[place], standing.worked[place]
        worked = submit(work, host, memories, model[place], mine, ROUNDS, at=place)
        deliveries[place] = submit(delivery_of, worked, at=place)
    costs = submit(source_costs, stage.plan, standing.met, at=root)
    ((solve, encode),) = executor.gather([costs])
    arrived, seconds["wire"] = _paid(executor, root, same, deliveries[other])
    ((decode, nbytes),) = executor.gather([submit(decode_costs, arrived, at=root)])
    host, came = stage.hosts[root], [deliveries[root], arrived]
    task = (host, standing.met, came, stage.counts, None, ROUNDS)
    _, whole = _paid(executor, root, meeting.meet, *task)
    seconds |= {"solve": SOURCES * solve, "encode": SOURCES * encode, "decode": SOURCES * decode}
    seconds["aggregate, step"] = max(0.0, whole - seconds["decode"])
    return seconds, nbytes


def _paid(
    executor: Executor, place: str, fn: Callable[..., Any], *args: Handle
) -> tuple[Handle, float]:
    """Make a value at a place; return it, and the CPU seconds that both workers paid."""
    before = _cpu(executor)
    made = executor.submit(fn, *args, at=place)
    executor.gather([executor.submit(bool, made, at=place)])
    return made, _cpu(executor) - before


def _cpu(executor: Executor) -> float:
    return float(sum(_everywhere(executor, process_time)))


def _everywhere(executor: Executor, fn: Callable[[], Any]) -> list[Any]:
    return executor.gather([executor.submit(fn, at=place) for place in executor.places])


def cpu_floor(size: int, ratio: float, feedback: bool, price: Prices) -> float:
    """Return the CPU seconds of the bytes that must move: read or written once each phase.

    And of the arrays that a round makes: updates, payloads here and there, the model that came
    down, new parameters, the direction, and residuals.
    """
    crossing = 1 + SOURCES / 2 * ratio
    # Written by the solver; read, with a residual read and written, and encoded; decoded and
    # reduced to one vector; then the step reads two and writes one.
    passes = SOURCES * (2 + ratio + 2 * feedback) + SOURCES * ratio + 1 + 3
    # A copy reads and writes.
    made = SOURCES * (1 + feedback + ratio * (ratio < 1)) + crossing + 2
    return 4 * size * (crossing * price.wire + passes * price.copy / 2 + made * price.fresh)


def memory_floor(ratio: float, feedback: bool) -> dict[str, float]:
    """Return the models that have to exist at once: at the root, and at the other worker.

    The root has all payloads, old and new parameters and the direction; the other its payloads,
    the model and an update. With feedback each has new residuals, and those of the last round.
    """
    residuals = SOURCES * feedback
    # A payload may be the update itself.
    other = 1 + SOURCES / 2 * ratio + residuals + (ratio < 1)
    return {"root": 3 + SOURCES * ratio + residuals, "other": other}


def main(size: int = SIZE) -> None:
    """Print the costs of every codec and aggregator, and how far the floors are."""
    price = prices()
    table = Table(
        title=f"{size:,} numbers ({size / 2.5e8:.2f} GB), {SOURCES} sources, 2 workers; CPU "
        f"seconds of both, peaks in models; a GB costs {1e9 * price.wire:.2f} s on the loopback, "
        f"{1e9 * price.copy:.2f} s to copy, {1e9 * price.fresh:.2f} s more to make"
    )
    for column in ("codec", "aggregator"):
        table.add_column(column)
    for column in (*PHASES, "round", "x floor", "root", "x floor", "other", "x floor", "driver"):
        table.add_column(column, justify="right")
    table.add_column("wall s", justify="right")
    with open_executor(workers=2) as executor:
        for codec in CODECS:
            for aggregator in AGGREGATORS:
                table.add_row(codec, aggregator, *_cells(executor, codec, aggregator, size, price))
    Console(width=170).print(table)


def _cells(
    executor: Executor, codec: str, aggregator: str, size: int, price: Prices
) -> tuple[str, ...]:
    measure(executor, codec, aggregator, min(size, 1 << 21))
    found, feedback = measure(executor, codec, aggregator, size), "feedback" in codec
    room = memory_floor(found.ratio, feedback)
    return (
        *(f"{found.phases[phase]:.2f}" for phase in PHASES),
        f"{found.cpu:.2f}",
        f"{found.cpu / cpu_floor(size, found.ratio, feedback, price):.1f}",
        *(
            text
            for name in ("root", "other")
            for text in (f"{found.peaks[name]:.1f}", f"{found.peaks[name] / room[name]:.2f}")
        ),
        f"{found.peaks['driver']:.1f}",
        f"{found.wall:.2f}",
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
