"""Tables, texts and pictures as files, in the form that both kinds of store show."""

import json
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["folder_of", "write_figure", "write_table", "write_text"]


def folder_of(experiment: str) -> str:
    """Return an experiment's name as the name of one folder, which lies nowhere else.

    Examples
    --------
    >>> folder_of("clinics"), folder_of("../../etc")
    ('clinics', '%2E%2E%2F%2E%2E%2Fetc')
    """
    return quote(experiment, safe=" ").replace("..", "%2E%2E")


def write_table(path: Path, table: dict[str, list[Any]]) -> None:
    """Write columns of equal length as MLflow's UI reads them: names, then rows."""
    rows = [list(map(_plain, row)) for row in zip(*table.values(), strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"columns": list(table), "data": rows}))


def write_text(path: Path, text: str) -> None:
    """Write a text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_figure(path: Path, figure: Any) -> None:
    """Write a matplotlib figure in the format its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _plain(value: Any) -> Any:
    """Return what JSON has a word for; it has none for NaN."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not isfinite(value) else value
