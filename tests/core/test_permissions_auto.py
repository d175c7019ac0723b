"""Mode `auto`: what runs in a sandbox is allowed, and nothing else is different from `edits`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from quell.core.access import Access
from quell.core.permissions import check
from tests.core.accesses import bash, edit, fetch
from tests.core.test_permissions import Row, named, rules


def boxed(access: Access) -> Access:
    return replace(access, sandboxed=True)


SANDBOX_TABLE = [
    Row(boxed(bash("npm install")), "auto", "", "allow"),
    Row(boxed(bash("npm install")), "edits", "", "ask"),
    Row(boxed(bash("npm install")), "ask", "", "ask"),
    Row(boxed(bash("npm install")), "plan", "", "deny"),
    Row(boxed(bash("npm install", opaque=True)), "auto", "", "allow"),
    Row(boxed(bash(opaque=True)), "auto", "", "allow"),
    Row(boxed(bash("?cat /etc/passwd @/etc/passwd")), "auto", "", "allow"),
    Row(boxed(bash("make", writes="/tmp/log")), "auto", "", "allow"),
    Row(boxed(bash("make", writes=".git/hooks/pre-push")), "auto", "", "ask"),
    Row(boxed(bash("make", writes=".vscode/tasks.json")), "auto", "", "ask"),
    Row(boxed(named("cp x .vscode/tasks.json", ".vscode/tasks.json")), "auto", "", "allow"),
    Row(boxed(bash("npm install", "git push")), "auto", "deny bash(git push *)", "deny"),
    Row(boxed(bash("npm install")), "auto", "ask bash(npm *)", "ask"),
    Row(boxed(bash("make", writes="secrets/x")), "auto", "deny edit(secrets)", "deny"),
    Row(boxed(bash("npm install")), "auto", "deny kind:execute", "deny"),
    Row(edit("/etc/hosts"), "auto", "", "ask"),
    Row(fetch("docs.python.org"), "auto", "", "ask"),
]


@pytest.mark.parametrize("number", range(len(SANDBOX_TABLE)))
def test_mode_auto_and_the_sandbox(number: int) -> None:
    row = SANDBOX_TABLE[number]
    verdict = check(row.access, rules(row.rules), row.mode)
    assert verdict.answer == row.answer, (row, verdict)


def test_mode_auto_says_what_it_asks_about() -> None:
    assert check(bash("npm install"), (), "auto").reason.endswith("(mode auto, not in a sandbox).")
    assert check(edit("/etc/hosts"), (), "auto").reason.endswith("(mode auto).")
