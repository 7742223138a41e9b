"""The folder of a run's checkpoints, on any file system fsspec knows: what is there is whole."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from msl.errors import CheckpointError

__all__ = ["Folder"]

Made = TypeVar("Made")


class Folder:
    """Files by name below one URL.

    A local file is written aside, brought to the disk and renamed; an object store shows an object
    only when all of it is there. So a file is absent or whole, wherever the writer was killed.

    Parameters
    ----------
    url : str
        A path, or what fsspec takes: ``s3://bucket/runs/7``.
    """

    def __init__(self, url: str) -> None:
        self._fs, self._path = fsspec.core.url_to_fs(url)
        self._local = isinstance(self._fs, LocalFileSystem)

    @property
    def url(self) -> str:
        """The folder's name at every place: absolute, with its protocol."""
        return str(self._fs.unstrip_protocol(self._path))

    @property
    def path(self) -> Path | None:
        """Where it is among the files of this machine; None when it is not."""
        return Path(self._path) if self._local else None

    def put(self, name: str, write: Callable[[BinaryIO], Made]) -> Made:
        """Make a file; return what `write` returns."""
        path = self._at(name)
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        if not self._local:
            with self._fs.open(path, "wb") as out:
                return write(out)
        with open(f"{path}.new", "wb") as out:
            made = write(out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(f"{path}.new", path)
        # The name is in the folder, which has to reach the disk as well.
        entry = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
        return made

    def put_bytes(self, name: str, data: bytes) -> None:
        """Make a small file; on an object store by a single put."""
        if self._local:
            self.put(name, lambda out: out.write(data))
        else:
            self._fs.pipe_file(self._at(name), data)

    @contextmanager
    def open(self, name: str, nbytes: int) -> Iterator[BinaryIO]:
        """Open a file for reading; raises CheckpointError when its length is another."""
        if (found := self.size(name)) != nbytes:
            raise CheckpointError(f"it has {found} bytes, the manifest says {nbytes}")
        with self._fs.open(self._at(name), "rb") as file:
            yield file

    def get_bytes(self, name: str, limit: int) -> bytes:
        """Return a small file; raises CheckpointError when it is longer than the limit."""
        if (found := self.size(name)) > limit:
            raise CheckpointError(f"{name} has {found} bytes, which no file of its kind has")
        data: bytes = self._fs.cat_file(self._at(name))
        return data

    def size(self, name: str) -> int:
        """Return the length of a file in bytes."""
        self._fs.invalidate_cache()
        return int(self._fs.size(self._at(name)))

    def has(self, name: str) -> bool:
        """Return whether there is such a file."""
        self._fs.invalidate_cache()
        return bool(self._fs.exists(self._at(name)))

    def names(self) -> list[str]:
        """Return what lies in the folder itself; nothing when there is none."""
        self._fs.invalidate_cache()
        try:
            found: list[Any] = self._fs.ls(self._path, detail=False)
        except FileNotFoundError:
            return []
        return [str(path).rstrip("/").rpartition("/")[2] for path in found]

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing when it is not there."""
        if self.has(name):
            self._fs.rm(self._at(name), recursive=True)

    def _at(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"
