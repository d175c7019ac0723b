"""The figures as a table: on the terminal while they come, and in docs/reference/benchmarks.md between two marks."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import Figure

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "reference" / "benchmarks.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def line(figure: Figure) -> str:
    verdict = figure.verdict.upper() if figure.met is False else figure.verdict
    return f"  {figure.shown:>12}  {figure.shown_target:>12}  {verdict:<6}  {figure.name}"


def machine() -> str:
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {platform.system()} {platform.release().split('-')[0]},"
        f" {platform.python_implementation()} {platform.python_version()}"
    )


def table(groups: Mapping[str, Sequence[Figure]]) -> str:
    rows = ["| figure | measured | target | | best elsewhere |", "| --- | ---: | ---: | --- | --- |"]
    for group, figures in groups.items():
        rows.append(f"| **{group}** | | | | |")
        for figure in figures:
            verdict = f"**{figure.verdict}**" if figure.met is False else figure.verdict
            cells = (figure.name, figure.shown, figure.shown_target, verdict, figure.elsewhere)
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def write(groups: Mapping[str, Sequence[Figure]]) -> None:
    """Renew what stands between the marks."""
    text = DOCUMENT.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    measured = f"Measured on {datetime.now(UTC).date()}: {machine()}."
    DOCUMENT.write_text(f"{head}{BEGIN}\n{measured}\n\n{table(groups)}\n{END}{tail}")
