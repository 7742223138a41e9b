"""The task in Apple's pfl: ``python -m msl_pipelines.bench.peers.pfl DRAWN ROUNDS``.

Its own loop, users' sampler, simulated backend and sums; the local training alone is NumPy's, on
memory shared with the tensors that pfl adds up. One process, or under ``torchrun`` several, which
share a cohort and reduce their sums over gloo. No evaluation.
"""

import sys
from importlib.metadata import version
from time import perf_counter
from typing import Any

import numpy as np

from msl_pipelines.bench.peers import task

__all__ = ["main"]


class _Model:
    """What `FederatedAveraging` asks of a model; W and b are arrays and tensors at once."""

    def __init__(self) -> None:
        from pfl.internal.ops.pytorch_ops import to_tensor
        from pfl.stats import MappedVectorStatistics

        self.arrays = (
            np.zeros((task.FEATURES, task.CLASSES), np.float32),
            np.zeros(task.CLASSES, np.float32),
        )
        self.tensors = dict(zip("Wb", map(to_tensor, self.arrays), strict=True))
        self.statistics = MappedVectorStatistics

    def get_parameters(self, placeholders: Any = None) -> Any:
        if placeholders is None:
            return self.statistics({name: t.clone() for name, t in self.tensors.items()})
        for name, tensor in self.tensors.items():
            placeholders[name].copy_(tensor)
        return placeholders

    def set_parameters(self, parameters: Any) -> None:
        for name, tensor in self.tensors.items():
            tensor.copy_(parameters[name])

    def get_model_difference(self, other: Any, clone: bool = False) -> Any:
        return self.statistics({name: t - other[name] for name, t in self.tensors.items()})

    def apply_model_update(self, statistics: Any) -> tuple[Any, Any]:
        from pfl.metrics import Metrics

        for name, tensor in self.tensors.items():
            tensor += statistics[name]
        return self, Metrics()

    def evaluate(self, dataset: Any, name_formatting_fn: Any, eval_params: Any = None) -> Any:
        """Say nothing: pfl would evaluate every user of the first round."""
        from pfl.metrics import Metrics

        return Metrics()


def main(drawn: int, rounds: int) -> None:
    """Run rounds, and tell how long they took."""
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.callback.base import TrainingProcessCallback
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.sampling import get_user_sampler
    from pfl.hyperparam.base import NNTrainHyperParams
    from pfl.internal.ops import pytorch_ops
    from pfl.internal.ops.selector import set_framework_module
    from pfl.metrics import Metrics

    set_framework_module(pytorch_ops)
    # Its samplers draw from this: the same users in every process.
    np.random.seed(0)  # noqa: NPY002
    draw, ends = np.random.default_rng(0), []

    class Averaging(FederatedAveraging):  # type: ignore[misc]
        def train_one_user(
            self, initial_model_state: Any, model: Any, user_dataset: Any, central_context: Any
        ) -> tuple[Any, Any]:
            W, b = model.arrays
            task.train_locally(W, b, user_dataset.raw_data, draw)
            return model.get_model_difference(initial_model_state), Metrics()

    class Watch(TrainingProcessCallback):  # type: ignore[misc]
        def after_central_iteration(self, *_told: Any, **_named: Any) -> tuple[bool, Any]:
            ends.append(perf_counter())
            return False, Metrics()

    begun, model = perf_counter(), _Model()
    ids = list(range(task.SOURCES))
    users = FederatedDataset.from_slices(
        dict(zip(ids, task.rows(), strict=True)), get_user_sampler("minimize_reuse", ids)
    )
    Averaging().run(
        backend=SimulatedBackend(users, users),
        model=model,
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=rounds + 1,
            train_cohort_size=drawn,
            val_cohort_size=None,
        ),
        model_train_params=NNTrainHyperParams(
            local_batch_size=task.BATCH, local_num_epochs=1, local_learning_rate=task.RATE
        ),
        callbacks=[Watch()],
        send_metrics_to_platform=False,
    )
    if not pytorch_ops.distributed.global_rank:
        task.tell(version("pfl"), begun, ends, task.loss_of(*model.arrays))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
