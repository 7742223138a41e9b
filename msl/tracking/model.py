"""The final model as an MLflow model that anybody can load without knowing msl's API."""

from importlib.metadata import version
from typing import Any

import mlflow
import numpy as np
from mlflow.models import Model as MlflowModel
from mlflow.models import infer_signature

__all__ = ["log_pyfunc"]

# Inferring them costs seconds per model.
_REQUIREMENTS = ("msl", "numpy", "scikit-learn", "torch")


class Predictor(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Predicts class numbers from rows of features."""

    def __init__(self, model: Any, params: Any) -> None:
        self.model, self.vector = model, params

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Return predictions of shape (m,) for an array or a data frame of shape (m, p)."""
        return self.model.predict(self.vector, np.asarray(model_input, np.float32))


def log_pyfunc(uri: str, run_id: str, model: Any, params: Any, example: Any) -> str:
    """Store (model, params) with signature and example under a run; return its URI."""
    predictor = Predictor(model, params)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        info = MlflowModel.log(
            None,
            flavor=mlflow.pyfunc,
            name="model",
            run_id=run_id,
            python_model=predictor,
            signature=infer_signature(example, predictor.predict(None, example)),
            input_example=example,
            pip_requirements=[f"{name}=={version(name)}" for name in _REQUIREMENTS],
        )
    finally:
        mlflow.set_tracking_uri(before)
    return str(info.model_uri)
