"""A model as an MLflow model on disk, that anybody can load without knowing msl's API."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
from mlflow.models import infer_signature

from msl.tracking.quiet import quiet

__all__ = ["Fitted", "save_model"]

# Inferring them costs seconds per model.
_REQUIREMENTS = ("msl", "numpy", "scikit-learn", "torch")


class Fitted:
    """A model and its parameters as one object that predicts; what the sklearn flavour loads.

    Parameters
    ----------
    model : Model
        What is learned.
    params : ndarray of shape (d,)
        Its parameters.
    """

    def __init__(self, model: Any, params: Any) -> None:
        self.model, self.params = model, params

    def predict(self, X: Any) -> Any:
        """Return predictions of shape (m,) for an array or a data frame of shape (m, p)."""
        return self.model.predict(self.params, np.asarray(X, np.float32))


def save_model(place: Path, model: Any, params: Any, example: Any = None) -> None:
    """Save (model, params) as pyfunc and sklearn flavour; signature and example from `example`.

    Saving needs no store, so the model can wait for one.
    """
    fitted = Fitted(model, params)
    signature = None if example is None else infer_signature(example, fitted.predict(example))
    # The logger says on every call that the model is pickled and that its example is tried.
    with quiet("mlflow.sklearn", "mlflow.pyfunc"):
        mlflow.sklearn.save_model(
            fitted,
            str(place),
            serialization_format="cloudpickle",
            signature=signature,
            input_example=example,
            pip_requirements=[f"{name}=={_public(name)}" for name in _REQUIREMENTS],
        )


def _public(name: str) -> str:
    """Return the version without its local label: no index holds ``2.13.0+cpu``."""
    return version(name).partition("+")[0]
