"""The parts of a run, put together and checked once."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from msl.aggregators.base import Aggregator
from msl.aggregators.mean import Mean
from msl.algorithms.base import Algorithm
from msl.attacks.base import Attack, DataAttack
from msl.bounds.capacity import Capacity, Linear
from msl.bounds.guarantee import Guarantee
from msl.codecs.base import Codec
from msl.codecs.none import Identity
from msl.collectives.base import Collective
from msl.collectives.star import Star
from msl.errors import PlanError
from msl.models.base import Model
from msl.models.linear import Linear as LinearModel
from msl.models.softmax import Softmax
from msl.parts import describe
from msl.samplers.base import Sampler
from msl.samplers.uniform import Uniform
from msl.trust.all import TrustAll
from msl.trust.base import TrustRule
from msl.waiting.base import Waiting
from msl.waiting.everyone import Everyone

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """What is learned, how, and who lies; the same plan and seed give the same bits anywhere.

    Parameters
    ----------
    model, algorithm, aggregator, codec, trust, collective
        One member of each family.
    attack : Attack or DataAttack, optional
        What the corrupted sources do; for simulation only.
    corrupted : tuple of int
        Ranks of the corrupted sources.
    n_classes : int, optional
        Classes of the task; needed by attacks on labels.
    rounds : int
        How many at most, at least 1; fewer where the algorithm's server rule converges.
    per_round : int, optional
        Sources drawn per round without replacement; all by default.
    sampler : Sampler
        How they are drawn; what is in the draw is not in the weight of an update too.
    seed : int
        Root of every key, 0 <= seed < 2**64.
    evaluate_every : int
        Rounds between two looks at the held-out rows; the last round is always looked at.
    on_failure : {"raise", "drop"}
        What a source's error does to the run: end it, or leave the source out of that round; out
        of the run, when it cannot be loaded at its start or does not fit the model.
    weights : {"auto", "rows", "equal"}
        How much a source counts: as many rows as it says it has, or one; "auto" leaves it to the
        aggregator, as rules that outvote liars by number should not let them buy votes.
    trusted : int
        First rows of the held-out ones that the server may use to judge updates; those are not
        used to evaluate.
    trust_every : int, optional
        Rounds after which sources are loaded and weighed anew, for rows that change during a
        run; once, before the first round, when left out.
    guarantee : Guarantee, optional
        What is promised of the risk with every round; nothing when None.
    waiting : Waiting
        For whom a round waits. Where updates may be of older models, `per_round` is how many
        sources are at work at a time.
    """

    model: Model
    algorithm: Algorithm
    aggregator: Aggregator = field(default_factory=Mean)
    codec: Codec = field(default_factory=Identity)
    attack: Attack | DataAttack | None = None
    corrupted: tuple[int, ...] = ()
    n_classes: int | None = None
    trust: TrustRule = field(default_factory=TrustAll)
    collective: Collective = field(default_factory=Star)
    rounds: int = 10
    per_round: int | None = None
    sampler: Sampler = field(default_factory=Uniform)
    seed: int = 0
    evaluate_every: int = 1
    on_failure: Literal["raise", "drop"] = "raise"
    weights: Literal["auto", "rows", "equal"] = "auto"
    trusted: int = 0
    trust_every: int | None = None
    guarantee: Guarantee | None = field(default_factory=Guarantee)
    waiting: Waiting = field(default_factory=Everyone)

    @property
    def by_rows(self) -> bool:
        """Whether a source counts as many times as it has rows."""
        auto = self.weights == "auto" and self.aggregator.by_size
        return self.weights == "rows" or auto

    @property
    def wire(self) -> Codec:
        """The codec, fitted to the blocks of the model."""
        return self.codec.fit(self.model.layout)

    @property
    def capacity(self) -> Capacity | None:
        """The size of the class of models, if it is asked for or known."""
        if self.guarantee is not None and isinstance(self.guarantee.capacity, Capacity):
            return self.guarantee.capacity
        if isinstance(self.model, Softmax | LinearModel) and self.model.n_classes is not None:
            return Linear(self.model.n_features, self.model.n_classes)
        return None

    def check(self, n: int) -> None:
        """Raise PlanError when the parts do not fit each other or n sources."""
        if n < 1:
            raise PlanError("a run needs at least one source")
        if self.rounds < 1 or self.evaluate_every < 1:
            raise PlanError("rounds and evaluate_every must be at least 1")
        if not 0 <= self.seed < 2**64:
            raise PlanError(f"seed must be in 0..2**64 - 1, got {self.seed}")
        if self.trust_every is not None and self.trust_every < 1:
            raise PlanError(f"trust_every must be at least 1 round, got {self.trust_every}")
        if self.per_round is not None and not 1 <= self.per_round <= n:
            raise PlanError(f"per_round must be in 1..{n} (the sources), got {self.per_round}")
        if self.on_failure not in ("raise", "drop"):
            raise PlanError(f"on_failure must be raise or drop, got {self.on_failure!r}")
        if self.weights not in ("auto", "rows", "equal"):
            raise PlanError(f"weights must be auto, rows or equal, got {self.weights!r}")
        if self.weights == "rows" and not self.aggregator.weighted:
            raise PlanError(f"{self.aggregator.name} has no use for weights: set weights to auto")
        if self.trusted < 0 or (self.aggregator.needs_trusted and not self.trusted):
            raise PlanError(
                f"{self.aggregator.name} judges updates on trusted rows: set trusted to a number "
                "of held-out rows"
            )
        if self.aggregator.per_source and (self.per_round or n) < n:
            raise PlanError(
                f"{self.aggregator.name} remembers each source: leave per_round out, so that all "
                f"{n} take part in every round"
            )
        self.aggregator.check(self.per_round or n)
        measured = self.guarantee is not None and self.guarantee.capacity == "measured"
        if measured and self.n_classes is None:
            raise PlanError(
                "a measured capacity turns labels into wrong ones and needs n_classes; for real "
                "targets, whose loss has no bound of 1, leave the guarantee out"
            )
        self._check_attack(n)
        self._check_waiting(n)

    def _check_waiting(self, n: int) -> None:
        waiting, k = self.waiting, self.per_round or n
        if not waiting.timed:
            return
        drawn, least = min(waiting.drawn(k), n), waiting.least(k)
        if self.algorithm.in_step:
            raise PlanError(
                f"{self.algorithm.name} compares gradients of one model at the same sources: it "
                "needs waiting: everyone"
            )
        if self.aggregator.per_source and (waiting.folds or drawn != k):
            raise PlanError(
                f"{self.aggregator.name} remembers each source: it needs everyone, or a deadline "
                "without over"
            )
        if least > k:
            raise PlanError(f"{least} updates are to make a step, and only {k} are to be heard")
        if not self.aggregator.per_source:
            self.aggregator.check(least)

    def _check_attack(self, n: int) -> None:
        if wrong := [rank for rank in self.corrupted if not 0 <= rank < n]:
            raise PlanError(f"corrupted ranks must be in 0..{n - 1}, got {wrong}")
        if self.attack is None and self.corrupted:
            raise PlanError("corrupted sources need an attack that says what they do")
        if len(set(self.corrupted)) >= n:
            raise PlanError(f"at least one of {n} sources must be honest")
        if isinstance(self.attack, DataAttack) and self.n_classes is None:
            raise PlanError(f"attack {self.attack.name} changes labels and needs n_classes")

    def describe(self) -> dict[str, Any]:
        """Return the whole plan as nested plain values, for a tracker's parameters."""
        found: dict[str, Any] = {}
        for part in fields(self):
            value = getattr(self, part.name)
            found[part.name] = describe(value) if hasattr(value, "name") else value
        return found
