"""The final model as an MLflow model that anybody can load without knowing msl's API."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import mlflow
import numpy as np
from mlflow.models import Model as MlflowModel
from mlflow.models import infer_signature
from mlflow.pyfunc.model import PythonModel

from msl.tracking.quiet import quiet

__all__ = ["log_pyfunc"]

# Inferring them costs seconds per model.
_REQUIREMENTS = ("msl", "numpy", "scikit-learn", "torch")


class Predictor(PythonModel):
    """Predicts class numbers from rows of features."""

    def __init__(self, model: Any, params: Any) -> None:
        self.model, self.vector = model, params

    # mlflow reads the hint of model_input: it warns of Any, and takes np.ndarray for "the
    # signature is given". Data frames come all the same.
    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> Any:
        """Return predictions of shape (m,) for an array or a data frame of shape (m, p)."""
        return self.model.predict(self.vector, np.asarray(model_input, np.float32))


def log_pyfunc(uri: str, run_id: str, model: Any, params: Any, example: Any) -> str:
    """Store (model, params) with signature and example under a run; return its URI."""
    predictor = Predictor(model, params)
    client = mlflow.MlflowClient(uri)
    # Left to itself, mlflow files the model under the global experiment, in ./mlruns.
    entry = client.create_logged_model(
        client.get_run(run_id).info.experiment_id, name="model", source_run_id=run_id
    )
    # The logger says on every call that the model is pickled and that its example is tried.
    with _store(uri), quiet("mlflow.pyfunc"):
        info = MlflowModel.log(
            None,
            flavor=mlflow.pyfunc,
            model_id=entry.model_id,
            run_id=run_id,
            python_model=predictor,
            signature=infer_signature(example, predictor.predict(None, example)),
            input_example=example,
            pip_requirements=[f"{name}=={_public(name)}" for name in _REQUIREMENTS],
        )
    return str(info.model_uri)


def _public(name: str) -> str:
    """Return the version without its local label: no index holds ``2.13.0+cpu``."""
    return version(name).partition("+")[0]


@contextmanager
def _store(uri: str) -> Iterator[None]:
    """Point mlflow's global URI at a store: logging a model has no argument for it."""
    was_set: bool = mlflow.is_tracking_uri_set()  # type: ignore[no-untyped-call]
    before = mlflow.get_tracking_uri() if was_set else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        # None unsets it, though the hint does not say so.
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]
