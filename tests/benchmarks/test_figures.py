"""What the measurements are reckoned with: percentiles, verdicts, the table, and the prompts that say what the model does."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmarks.__main__ as command
from benchmarks import report
from benchmarks.figures import Figure, median, percentile
from benchmarks.play import Play, script, wanted
from quell.llm.script import parse_script


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (median(values), percentile(values, 0.99), percentile(values, 1)) == (50, 99, 100)
    assert (median([3.0]), percentile([1.0, 2.0], 0.99)) == (3, 2)


def test_a_target_is_met_up_to_its_value() -> None:
    verdicts = [Figure(name="f", value=value, unit="ms", target=5).verdict for value in (4.9, 5.0, 5.1)]
    assert verdicts == ["met", "met", "missed"]
    assert Figure(name="f", value=1, unit="ms").verdict == ""


@pytest.mark.parametrize("play", [Play(), Play(500, 2), Play(None, 5)])
def test_the_last_prompt_says_what_the_model_does(play: Play) -> None:
    assert wanted(f'{{"messages":["{Play(3, 1).prompt}","{play.prompt}"],"stream":true}}'.encode()) == play


def test_the_script_answers_every_play() -> None:
    plays = (Play(), Play(500, 2), Play(None, 5))
    assert len(parse_script(script(*plays), "plays").when) == len(plays)


def test_the_table_is_renewed_and_the_text_around_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "DOCUMENT", document)
    report.write({"group": [Figure(name="a thing", value=7, unit="ms", target=5, elsewhere="9 ms")]})
    text = document.read_text()
    assert "| a thing | 7 ms | ≤ 5 ms | **missed** | 9 ms |" in text
    assert (text.startswith("before\n"), text.endswith("\nafter\n"), "old" in text) == (True, True, False)


async def test_a_group_is_measured_once_more_when_the_clock_was_another_one_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks = iter([17.0, 11.0, 17.0, 11.0, 12.0])
    measured: list[Figure] = []

    async def measure(quick: bool) -> list[Figure]:
        measured.append(Figure(name="f", value=len(measured), unit="ms"))
        return measured[-1:]

    monkeypatch.setitem(command.GROUPS, "start", measure)
    monkeypatch.setattr(command, "LOOK_AGAIN", 0)
    monkeypatch.setattr(command, "_clock", lambda: Figure(name="clock", value=next(clocks), unit="ms"))
    figures = await command._measure_group("start", 12.5, quick=True)
    assert [(figure.name, figure.value) for figure in figures] == [("clock", 12.0), ("f", 1)]
