"""Real data as its owners have it: rows of hospitals, before anybody has scaled or split them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["HOSPITALS", "hospital"]

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")


def hospital(folder: Path, name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return 13 features and whether there is a heart disease, of patients without gaps.

    Heart disease data of UCI: Detrano et al., American Journal of Cardiology 64, 1989; cleaned as
    FLamby does (Ogier du Terrail et al., NeurIPS 2022).
    """
    path = folder / "heart_disease" / f"processed.{name}.data"
    table = pd.read_csv(path, header=None, na_values="?")
    # Most hospitals lack what is in 10 to 12: slope, vessels and thallium test.
    table = table.drop(columns=[10, 11, 12]).dropna()
    kinds: list[Any] = [table[2] == pain for pain in (2, 3, 4)]
    kinds += [table[6] == ecg for ecg in (1, 2)]
    X = np.column_stack([table.drop(columns=[2, 6, 13]), *kinds]).astype(np.float64)
    return X, (table[13] > 0).to_numpy().astype(np.int64)
