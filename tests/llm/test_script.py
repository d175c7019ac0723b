"""Reading scripts: what is right is read, what is wrong is refused with file, line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from quell.core.errors import UnknownModel
from quell.llm.script import Say, ScriptError, Use, parse_script
from quell.llm.scripted import load_script, script_path

WRONG = {
    "": "f:1: the script has no [[reply]], no [[when]] and no [[agent]]",
    "x =": "f:1: not TOML: Invalid value",
    'text = "open\n': "f:1: not TOML: Illegal character '\\n'",
    "windw = 3": "f:1: unknown key `windw`; did you mean `window`?",
    "reply = 3": "f:1: `reply`: expected `array`, got `int`",
    "window = 0\n[[reply]]": "f:1: `window`: expected `int` >= 1",
    '[[reply]]\n\n[[reply]]\nstep = [\n  { text = "a" },\n  { txt = "b" },\n]': (
        "f:6: reply 2, step 2: a step needs one of endless, fail, reasoning, silence, text, tool, wait; "
        "did you mean `text`?"
    ),
    '[[reply]]\nstep = [\n  { text = "a" },\n  { text = "b", chnk = 3 },\n]': (
        "f:4: reply 1, step 2: unknown key `chnk`; did you mean `chunk`?"
    ),
    '[[reply]]\n[[reply.step]]\ntext = """\n[[reply]]\n"""\n\n[[reply]]\n[[reply.step]]\nfail = "overladed"\n': (
        "f:9: reply 2, step 1, `fail`: `overladed` is none of context_overflow, garbled, internal, invalid_request, no_key, "
        "overloaded, quota, rate_limit, unauthorized, unknown_model, unreachable; "
        "did you mean `overloaded`?"
    ),
    '[[reply]]\nstop_reason = "endturn"\n': (
        "f:2: reply 1, `stop_reason`: `endturn` is none of budget, cancelled, end_turn, error, hook, interrupted, loop, max_tokens, "
        "max_turn_requests, permission, refusal, rejected, time_limit, tool_use; did you mean `end_turn`?"
    ),
    "[[reply]]\nusage = { inptu = 3 }": "f:2: reply 1, `usage`: unknown key `inptu`; did you mean `input`?",
    "[[reply]]\nstep = [{ wait = -1 }]": "f:2: reply 1, step 1, `wait`: expected `float` >= 0.0",
    '[[reply]]\nstep = [{ text = "a", tool = "b" }]': "f:2: reply 1, step 1: unknown key `tool`",
    "[[reply]]\n[[agent]]\nprompt = '('\nreply = [{}]": "f:3: agent 1: `prompt` is no regular expression: missing ), unterminated subpattern at position 0",
    "[[reply]]\n[[agent]]\nreply = [{ step = [{ txt = 'a' }] }]": "f:3: agent 1, reply 1, step 1: a step needs one of endless, fail, reasoning, silence, text, tool, wait; did you mean `text`?",
    "[[when]]\nreply = [{}]": "f:1: when 1: needs `prompt`, `result` or `system`",
    '[[when]]\nprompt = "x"\nreply = []': "f:3: when 1, `reply`: expected `array` of length >= 1",
    '[[when]]\nreply = [{}]\nprompt = "("': (
        "f:3: when 1: `prompt` is no regular expression: missing ), unterminated subpattern at position 0"
    ),
}


@pytest.mark.parametrize("source", WRONG)
def test_what_is_wrong_is_said_with_its_line(source: str) -> None:
    with pytest.raises(ScriptError) as error:
        parse_script(source, "f")
    assert str(error.value) == WRONG[source]


def test_both_ways_to_write_steps_are_the_same() -> None:
    short = parse_script('[[reply]]\nstep = [{ text = "a", chunk = 1 }, { tool = "t", input = { n = 1 } }]', "f")
    long = parse_script(
        '[[reply]]\n[[reply.step]]\ntext = "a"\nchunk = 1\n[[reply.step]]\ntool = "t"\ninput = { n = 1 }', "f"
    )
    assert short == long
    assert short.reply[0].step == (Say("a", chunk=1), Use("t", {"n": 1}))


def test_a_relative_file_is_in_the_callers_directory(tmp_path: Path) -> None:
    assert script_path("scripted:a.toml", {"PWD": str(tmp_path)}) == str(tmp_path / "a.toml")
    assert script_path("scripted:/b.toml", {}) == "/b.toml"
    assert script_path("scripted:~/c.toml", {}) == str(Path.home() / "c.toml")
    for spec in ("scripted:", "scripted:a.toml"):
        with pytest.raises(ScriptError, match="which file"):
            script_path(spec, {})


def test_a_file_that_cannot_be_read_is_an_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"cannot read the script .*no\.toml: No such file"):
        load_script("scripted:no.toml", str(tmp_path / "no.toml"))
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UnknownModel, match=r"b\.toml: it is not UTF-8 text"):
        load_script("scripted:b.toml", str(tmp_path / "b.toml"))
