"""The options of `run` are read twice, by the fast path and by click, and mean the same."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quell.cli.commands import run_command
from quell.cli.options import MODES, OPTIONS, Option, RunOptions, parse

WORDS = st.text("abc -=ü", min_size=1, max_size=6).filter(lambda word: not word.startswith("-"))


def values(option: Option) -> st.SearchStrategy[str]:
    match option.kind:
        case "count":
            return st.integers(1, 99).map(str)
        case "seconds":
            return st.sampled_from(["0.5", "7", "1e3"])
        case "money":
            return st.sampled_from(["0.5", "7", "12.25"])
        case "mode":
            return st.sampled_from(MODES)
        case _:
            return WORDS


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    line: list[str] = []
    for option in draw(st.lists(st.sampled_from(OPTIONS), max_size=5)):
        name = draw(st.sampled_from(option.names))
        if option.kind == "flag":
            line.append(name)
        elif name.startswith("--") and draw(st.booleans()):
            line.append(f"{name}={draw(values(option))}")
        else:
            line += [name, draw(values(option))]
        line += draw(st.lists(WORDS, max_size=2))
    return line + draw(st.sampled_from([[], ["--", "-x", "--json"]]))


def by_click(line: list[str]) -> RunOptions:
    context = click.Context(run_command)
    run_command.parse_args(context, list(line))
    options = RunOptions()
    options.words = context.params["words"]
    for option in OPTIONS:
        value = context.params[option.key]
        for each in value if option.kind == "many" else (value,):
            options.put(option, each)
    return options


@given(command_lines())
def test_both_read_the_same(line: list[str]) -> None:
    fast = parse(line)
    assert fast is not None
    slow = by_click(line)
    for name in ("words", *("continue_" if option.key == "continue" else option.key for option in OPTIONS)):
        assert getattr(fast, name) == getattr(slow, name), name


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "-h",
        "--unknown",
        "--model",
        "--json=yes",
        "--timeout 0",
        "--timeout nan",
        "--max-turns 0",
        "--max-turns 1.5",
        "--mode all",
        "-qc",
    ],
)
def test_what_needs_an_explanation_is_left_to_click(line: str) -> None:
    assert parse(line.split()) is None
