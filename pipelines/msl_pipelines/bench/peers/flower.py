"""The task in Flower: ``python -m msl_pipelines.bench.peers.flower DRAWN ROUNDS POLL``.

Its simulation on two Ray actors of one core each, rows kept in the actors, no evaluation. POLL is
how often, in seconds, the server looks for replies: 0.1 unless told otherwise.
"""

import os
import sys
from time import perf_counter
from typing import Any

import numpy as np

from msl_pipelines.bench.peers import task

__all__ = ["main", "train_source"]

_draw = np.random.default_rng(0)


def train_source(message: Any, context: Any) -> Any:
    """Train a source on an actor, and reply with its model."""
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

    data = task.rows()[int(context.node_config["partition-id"])]
    W, b = (array.copy() for array in message.content["arrays"].to_numpy_ndarrays())
    task.train_locally(W, b, data, _draw)
    found = {
        "arrays": ArrayRecord([W, b]),
        "metrics": MetricRecord({"num-examples": task.ROWS}),
    }
    return Message(content=RecordDict(found), reply_to=message)


def main(drawn: int, rounds: int, poll: float) -> None:
    """Run rounds, and tell how long they took."""
    # Both would call home.
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    import flwr
    import ray
    from flwr.app import ArrayRecord
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    client, server = ClientApp(), ServerApp()
    client.train()(train_source)
    model: list[Any] = [
        np.zeros((task.FEATURES, task.CLASSES), np.float32),
        np.zeros(task.CLASSES, np.float32),
    ]
    ends: list[float] = []

    def over(round: int, arrays: Any) -> None:
        if round:
            ends.append(perf_counter())
            model[:] = arrays.to_numpy_ndarrays()

    def serve(grid: Any, _context: Any) -> None:
        grid.pull_interval = poll
        strategy = FedAvg(fraction_train=drawn / task.SOURCES, fraction_evaluate=0.0)
        strategy.start(grid, ArrayRecord(model), num_rounds=rounds, evaluate_fn=over)

    server.main()(serve)
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
    begun = perf_counter()
    run_simulation(
        server,
        client,
        num_supernodes=task.SOURCES,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    version = f"{flwr.__version__}, Ray {ray.__version__}"
    task.tell(version, begun, ends, task.loss_of(*model))


if __name__ == "__main__":
    # By its name: actors import it, rather than take a copy of what it says.
    from msl_pipelines.bench.peers import flower

    flower.main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
