"""What every `Hooks` does: the fake, and real commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quell.core.hooks import HookAnswer, HookPlace, Hooks, parsed
from quell.hooks import CommandHooks, Hook
from quell.testing.hooks import HOOKS, FakeHooks, HooksCheck
from quell.workspace.programs import LocalPrograms


def commands(answer: HookAnswer | None) -> Hooks:
    command = "sleep 1000"
    if answer is not None:
        said = {"decision": answer.report.decision, "reason": answer.report.reason, "context": answer.context}
        if answer.report.decision == "none":
            said["decision"] = ""
        said = {name: value for name, value in said.items() if value}
        command = f"echo '{json.dumps({**said, 'updated_input': answer.input})}'"
    hooks = [Hook(event="PreToolUse", name="h", command=command), Hook(event="PostToolUse", name="h", command=command)]
    return CommandHooks(hooks, LocalPrograms())


@pytest.mark.parametrize("make", [FakeHooks, commands], ids=["fake", "commands"])
@pytest.mark.parametrize("check", HOOKS, ids=lambda check: check.__name__)
async def test_hooks(check: HooksCheck, make: type[FakeHooks], tmp_path: Path) -> None:
    await check(make, HookPlace("s", None, str(tmp_path), "edits"))


@pytest.mark.parametrize(
    ("input", "seen"),
    [('{"a": "x\ny"}', {"a": "x\ny"}), ("", {}), ("[1]", {}), ('{"a": 1, "a": 2}', {"a": 2}), ("[" * 100_000, {})],
)
def test_a_guard_sees_what_a_tool_understands(input: str, seen: dict[str, object]) -> None:
    assert parsed(input) == seen
