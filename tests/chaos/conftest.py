"""Storms take minutes: only for those who name this folder."""

from pathlib import Path

from served import only_when_named

pytest_ignore_collect = only_when_named(Path(__file__).parent)
