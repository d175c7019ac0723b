"""The numbered files that make a journal's tables, and bring older ones up to date."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct


class Migration(Struct, frozen=True):
    """Statements that lead from version `number - 1` of the tables to version `number`."""

    number: int
    script: str


def migrations(folder: Path) -> tuple[Migration, ...]:
    """Those in a folder, in order."""
    scripts = sorted(folder.glob("*.sql"))
    return tuple(Migration(int(file.name[:4]), file.read_text("utf-8")) for file in scripts)


def missing(steps: Sequence[Migration], version: int) -> Sequence[Migration]:
    """What tables of that version lack."""
    return [step for step in steps if step.number > version]
