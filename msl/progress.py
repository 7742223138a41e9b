"""What a terminal shows while rounds run: a live bar, or plain lines when it is no terminal."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from msl.ledger import Ledger
from msl.outcome import Outcome
from msl.ranking import Rank
from msl.types import Report

__all__ = ["Progress", "ranking_of", "stragglers_of", "table_of", "trust_of"]

_STRAGGLERS = 10


class Progress:
    """One bar per cell; in a log, a line every tenth of the rounds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Bar(
            TextColumn("{task.description:24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[seen]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def start(self, name: str, rounds: int) -> Callable[[Report], None]:
        """Begin a run of that many rounds; what comes back shows them."""
        task = self.bar.add_task(name, total=rounds, seen="")
        if not self.console.is_terminal:
            self.console.print(f"{name}: {rounds} rounds", highlight=False)
        every = max(1, rounds // 10)

        def update(report: Report) -> None:
            seen, done = _seen(report), report.round + 1
            self.bar.update(task, completed=done, seen=seen)
            if not self.console.is_terminal and done % every == 0:
                line = f"{name}: round {done}/{rounds}  {seen}"
                self.console.print(line, highlight=False, soft_wrap=True)

        return update


def _seen(report: Report) -> str:
    seen = [f"{report.bytes_total / 1e3:,.0f} kB"]
    if report.loss is not None and report.accuracy is not None:
        seen = [f"loss {report.loss:.3f}", f"accuracy {report.accuracy:.3f}", *seen]
    late = len(report.late or ())
    if late:
        seen.append(f"{late} late")
    if len(report.dropped) > late:
        seen.append(f"{len(report.dropped) - late} dropped")
    return "  ".join(seen)


def table_of(outcomes: Sequence[Outcome]) -> Table:
    """Return the final table; accuracy also as points below `pooled_clean` where it ran."""
    best = next((o.accuracy for o in outcomes if o.name == "pooled_clean"), None)
    table = Table(title="accuracy on held-out rows after the last round")
    for column in ("cell", "accuracy", "points lost", "loss", "bytes up/round", "ratio"):
        table.add_column(
            column, justify="left" if column == "cell" else "right", no_wrap=column == "cell"
        )
    for o in outcomes:
        table.add_row(
            f"[dim]{o.name}[/dim]" if o.baseline else o.name,
            f"{o.accuracy:.3f}",
            "" if best is None else f"{100 * (best - o.accuracy):.1f}",
            f"{o.loss:.3f}",
            "" if o.baseline else f"{o.bytes_up_per_round:,.0f}",
            "" if o.baseline else f"{o.ratio:.2f}x",
        )
    return table


def ranking_of(ranks: Sequence[Rank]) -> Table:
    """Return the aggregators by their worst case."""
    table = Table(title="accuracy on held-out rows, the best worst case first")
    for column in ("aggregator", "worst", "+-", "mean", "worst setting"):
        right = column in ("worst", "+-", "mean")
        table.add_column(column, justify="right" if right else "left")
    for r in ranks:
        table.add_row(r.name, f"{r.worst:.3f}", f"{r.deviation:.3f}", f"{r.mean:.3f}", r.where)
    return table


def stragglers_of(ledger: Ledger) -> Table | None:
    """Return the sources that were late most often, ten at most; None when nobody was."""
    late = [(drops.late, rank) for rank, drops in ledger.dropped.items() if drops.late]
    if not late:
        return None
    shown = sorted(late, key=lambda found: (-found[0], found[1]))[:_STRAGGLERS]
    table = Table(title=f"who was late ({len(late)} of {len(ledger.sources)} sources)")
    for column in ("source", "place", "late", "used", "last seen late"):
        table.add_column(column, justify="left" if column in ("source", "place") else "right")
    for times, rank in shown:
        info, heard = ledger.sources[rank], int(ledger.heard_in[rank])
        row = (info.name, info.place, str(times), str(heard), str(ledger.dropped[rank].round))
        table.add_row(*row)
    return table


def trust_of(ledger: Ledger) -> Table:
    """Return whom the trust rule believes, and why."""
    table = Table(title="whom to believe")
    for column in ("source", "rows", "weight", "p", "why"):
        table.add_column(column, justify="left" if column in ("source", "why") else "right")
    chances = ledger.verdict.p_values or (None,) * len(ledger.sources)
    for info, weight, chance, why in zip(
        ledger.sources, ledger.verdict.weights, chances, ledger.verdict.reasons, strict=True
    ):
        p = "" if chance is None else f"{chance:.3f}"
        table.add_row(info.name, f"{info.rows}", f"{weight:.2f}", p, why)
    return table
