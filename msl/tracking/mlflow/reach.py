"""Whether a store answers, and what its errors mean."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from requests import HTTPError
from sqlalchemy.exc import OperationalError

from msl.tracking.quiet import quiet

__all__ = ["check", "impatient", "is_local", "is_refusal", "opening", "shown"]

SOON = 3
"""Seconds in which a live server answers."""

PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def is_local(uri: str) -> bool:
    """Return whether a store is a file here: no server that may come back."""
    return urlsplit(uri).hostname is None


def shown(uri: str) -> str:
    """Return a URI as a log may have it: without a password."""
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri


def check(uri: str) -> None:
    """Raise unless the server behind a store answers.

    MLflow itself asks a dead server again for minutes, and a database for longer.
    """
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        ask: Any = http_request
        who: Any = get_default_host_creds
        answer = ask(
            who(uri), "/health", "GET",
            max_retries=0, timeout=SOON, raise_on_status=False,
        )  # fmt: skip
        # Whatever else it says, it is there; a proxy before a dead server says 502 to 504.
        if answer.status_code >= 500:
            raise ConnectionError(f"{uri} answers {answer.status_code}")
    elif parts.hostname is not None:
        port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
        if port is not None:
            socket.create_connection((parts.hostname, port), SOON).close()


def is_refusal(error: Exception) -> bool:
    """Return whether asking again would get the same answer."""
    if isinstance(error, MlflowException):
        status = ERROR_CODE_TO_HTTP_STATUS.get(error.error_code, 500)
    elif isinstance(error, HTTPError) and error.response is not None:
        status = error.response.status_code
    else:
        return not isinstance(error, OSError | OperationalError)
    return 400 <= status < 500 and status not in (408, 429)


@contextmanager
def impatient() -> Iterator[None]:
    """Let MLflow give up on a dead server within seconds; alone it would try for minutes."""
    wanted = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    mine = {key: value for key, value in wanted.items() if key not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for key in mine:
            os.environ.pop(key, None)


@contextmanager
def opening(uri: str) -> Iterator[None]:
    """Open a store quickly and without a word."""
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    # Making the tables of a new store is not worth a page of log lines.
    with impatient(), quiet("alembic", "mlflow.store.db.utils", level=logging.WARNING):
        yield
