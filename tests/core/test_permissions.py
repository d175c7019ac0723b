"""The decision as a table, and the texts that come with it."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from quell.core.access import Access
from quell.core.errors import InvalidRequest
from quell.core.permissions import Mode, Rule, RuleAnswer, Scope, Verdict, check, headless_reason, parse_rule
from tests.core.accesses import bash, edit, fetch, grep, touch, view

MODES: tuple[Mode, ...] = ("ask", "edits", "plan", "yolo")


class RuleText(Struct, frozen=True, array_like=True):
    answer: RuleAnswer
    pattern: str
    scope: Scope


def rules(text: str) -> list[Rule]:
    """`[scope:] answer rule`, one a line or separated by ` | `."""
    found = []
    for line in filter(None, (part.strip() for part in text.split(" | "))):
        scope, _, rule = line.rpartition(": ") if line.split()[0].endswith(":") else ("user", "", line)
        answer, _, pattern = rule.partition(" ")
        found.append(msgspec.convert((answer, pattern, scope), RuleText))
    return [parse_rule(text.pattern, text.scope, text.answer) for text in found]


class Row(Struct, frozen=True):
    access: Access
    mode: Mode
    rules: str
    answer: RuleAnswer


def everywhere(access: Access, text: str, answers: str) -> list[Row]:
    """One row for each mode, in the order ask, edits, plan, yolo; what holds in `edits` holds in `auto`."""
    given = answers.split()
    return [
        msgspec.convert({"access": access, "mode": mode, "rules": text, "answer": answer}, Row)
        for mode, answer in zip((*MODES, "auto"), [*given, given[1]], strict=True)
    ]


def named(text: str, *words: str) -> Access:
    """A command in which these words name protected places."""
    access = bash(text)
    return replace(access, commands=(replace(access.commands[0], protected=words),))


MODE_TABLE = [
    # reading and searching
    *everywhere(view("src/a.py"), "", "allow allow allow allow"),
    *everywhere(view("/etc/hosts"), "", "ask ask ask allow"),
    *everywhere(grep(""), "", "allow allow allow allow"),
    *everywhere(grep("/usr/include"), "", "ask ask ask allow"),
    *everywhere(view("src/a.py", "/etc/hosts"), "", "ask ask ask allow"),
    *everywhere(view(".git/config"), "", "allow allow allow allow"),
    # changing files
    *everywhere(edit("src/a.py"), "", "ask allow deny allow"),
    *everywhere(edit("/etc/hosts"), "", "ask ask deny allow"),
    *everywhere(edit("src/a.py", "/tmp/x"), "", "ask ask deny allow"),
    *everywhere(touch("delete", "rm", "src/a.py"), "", "ask ask deny allow"),
    *everywhere(touch("move", "mv", "src/a.py", "src/b.py"), "", "ask ask deny allow"),
    # protected places
    *everywhere(edit(".git/hooks/pre-commit"), "", "ask ask deny allow"),
    *everywhere(edit(".git/config"), "", "ask ask deny allow"),
    *everywhere(edit("vendor/lib/.git/info/attributes"), "", "ask ask deny allow"),
    *everywhere(edit(".GIT/Config"), "", "ask ask deny allow"),
    *everywhere(edit(".quell/config.toml"), "", "ask ask deny allow"),
    *everywhere(edit("dotfiles/.bashrc"), "", "ask ask deny allow"),
    *everywhere(edit("dotfiles/.config/quell/config.toml"), "", "ask ask deny allow"),
    *everywhere(edit(".gitignore"), "", "ask allow deny allow"),
    *everywhere(edit("src/git/hooks/x"), "", "ask allow deny allow"),
    # commands
    *everywhere(bash("?git status"), "", "ask allow allow allow"),
    *everywhere(bash("npm install"), "", "ask ask deny allow"),
    *everywhere(bash("?git status", "npm install"), "", "ask ask deny allow"),
    *everywhere(bash("?cat /etc/passwd @/etc/passwd"), "", "ask ask ask allow"),
    *everywhere(bash("?echo hello", writes="out.txt"), "", "ask allow deny allow"),
    *everywhere(bash("?echo hello", writes="/etc/motd"), "", "ask ask deny allow"),
    *everywhere(bash("?echo hello", writes=".git/hooks/pre-push"), "", "ask ask deny allow"),
    *everywhere(bash("?git status", writes="/dev/null"), "", "ask allow allow allow"),
    *everywhere(bash("?git status", opaque=True), "", "ask ask deny allow"),
    *everywhere(bash(), "", "ask ask deny allow"),
    *everywhere(bash(writes="/dev/null"), "", "ask ask deny allow"),
    # servers
    *everywhere(fetch("docs.python.org"), "", "ask ask ask allow"),
    *everywhere(fetch("docs.python.org", writes="page.html"), "", "ask ask deny allow"),
    # tools that name nothing
    *everywhere(touch("think", "todos"), "", "allow allow allow allow"),
    *everywhere(touch("read", "job_output"), "", "allow allow allow allow"),
    *everywhere(touch("edit", "mcp_edits"), "", "ask ask deny allow"),
    *everywhere(touch("fetch", "fetch"), "", "ask ask ask allow"),
    *everywhere(touch("other", "mcp_x_y"), "", "ask ask deny allow"),
    # the web
    *everywhere(fetch("docs.python.org"), "", "ask ask ask allow"),
    *everywhere(fetch("docs.python.org", tool="download", writes="a.zip"), "", "ask ask deny allow"),
]

RULE_TABLE = [
    # plain rules
    *everywhere(edit("src/a.py"), "allow edit", "allow allow deny allow"),
    *everywhere(edit("src/a.py"), "ask edit", "ask ask deny allow"),
    *everywhere(edit("src/a.py"), "deny edit", "deny deny deny deny"),
    *everywhere(edit("src/a.py"), "allow kind:edit", "allow allow deny allow"),
    *everywhere(edit("src/a.py"), "deny kind:read", "ask allow deny allow"),
    *everywhere(view("/etc/hosts"), "allow view", "allow allow allow allow"),
    *everywhere(touch("other", "mcp_x_y"), "allow mcp_x_y", "allow allow deny allow"),
    *everywhere(bash("npm install"), "allow bash", "allow allow deny allow"),
    *everywhere(bash("npm install", opaque=True), "allow bash", "allow allow deny allow"),
    *everywhere(bash("npm install", opaque=True), "allow kind:execute", "allow allow deny allow"),
    # paths
    Row(edit("docs/guide/a.md"), "ask", "allow edit(docs/**)", "allow"),
    Row(edit("docs"), "ask", "allow edit(docs/**)", "allow"),
    Row(edit("docs/a.md"), "ask", "allow edit(docs/)", "allow"),
    Row(edit("docs/guide/a.md"), "ask", "allow edit(docs/*)", "ask"),
    Row(edit("docs/a.md"), "ask", "allow edit(docs/*)", "allow"),
    Row(edit("docs/a.md"), "ask", "allow edit(docs)", "ask"),
    Row(edit("docs/a.md"), "edits", "deny edit(docs)", "deny"),
    Row(edit("old/docs/a.md"), "edits", "deny edit(docs)", "allow"),
    Row(edit("old/docs/a.md"), "edits", "deny edit(**/docs)", "deny"),
    Row(edit("a.md"), "ask", "allow edit(**/*.md)", "allow"),
    Row(edit("x/y/a.md"), "ask", "allow edit(**/*.md)", "allow"),
    Row(edit("x/y/a.mdx"), "ask", "allow edit(**/*.md)", "ask"),
    Row(edit("a1.py"), "ask", "allow edit(a?.py)", "allow"),
    Row(edit("a12.py"), "ask", "allow edit(a?.py)", "ask"),
    Row(edit("x/a.py"), "ask", "allow edit(x?a.py)", "ask"),
    Row(edit("src/[id].ts"), "ask", "allow edit(src/[id].ts)", "allow"),
    Row(edit("src/i.ts"), "ask", "allow edit(src/[id].ts)", "ask"),
    Row(edit("src/a.py"), "ask", "allow edit(./src/a.py)", "allow"),
    Row(edit("src/a.py"), "ask", "allow edit(/work/app/src/a.py)", "allow"),
    Row(edit("src/a.py"), "ask", "allow edit(/src/a.py)", "ask"),
    Row(view("/home/ann/notes/x"), "edits", "allow view(~/notes/**)", "allow"),
    Row(view("/home/ann/.ssh/id"), "edits", "allow view(~/notes/**)", "ask"),
    Row(view("/home/ann/.ssh/id"), "yolo", "deny view(~/.ssh)", "deny"),
    Row(view("/home/ann/.ssh/id"), "edits", "allow view(~) | deny view(~/.ssh)", "deny"),
    Row(view("/usr/include/a.h"), "edits", "allow kind:read(/usr/include/**)", "allow"),
    Row(grep("/usr/include"), "edits", "allow kind:read(/usr/include/**)", "ask"),
    Row(grep("/usr/include"), "edits", "allow kind:search(/usr/**)", "allow"),
    Row(edit("src/a.py", "src/b.py"), "ask", "allow edit(src/a.py)", "ask"),
    Row(edit("src/a.py", "src/b.py"), "edits", "deny edit(src/b.py)", "deny"),
    Row(edit("src/a.py"), "edits", "deny write(src/**)", "allow"),
    Row(edit("src/a.py"), "edits", "deny kind:edit(src/**)", "deny"),
    # hosts
    *everywhere(fetch("docs.python.org"), "allow fetch(docs.python.org)", "allow allow allow allow"),
    *everywhere(fetch("docs.python.org"), "allow kind:fetch", "allow allow allow allow"),
    *everywhere(fetch("docs.python.org"), "deny kind:fetch(python.org)", "deny deny deny deny"),
    Row(fetch("docs.python.org"), "edits", "allow fetch(*.python.org)", "allow"),
    Row(fetch("a.docs.python.org"), "edits", "allow fetch(*.python.org)", "allow"),
    Row(fetch("python.org"), "edits", "allow fetch(*.python.org)", "ask"),
    Row(fetch("docs.python.org"), "edits", "allow fetch(python.org)", "ask"),
    Row(fetch("docs.python.org.evil.com"), "edits", "allow fetch(docs.python.org)", "ask"),
    Row(fetch("docs.python.org.evil.com"), "edits", "allow fetch(*.python.org)", "ask"),
    Row(fetch("evilpython.org"), "edits", "allow fetch(*python.org)", "allow"),
    Row(fetch("x.evilpython.org"), "edits", "allow fetch(*python.org)", "ask"),
    Row(fetch("docs.python.org"), "edits", "allow fetch(Docs.Python.ORG.)", "allow"),
    Row(fetch("a.org"), "edits", "allow fetch(*)", "allow"),
    Row(fetch("10.0.0.1"), "edits", "allow fetch(*)", "allow"),
    Row(fetch("10.0.0.1"), "edits", "allow fetch(10.0.0.1)", "allow"),
    Row(fetch("110.0.0.1"), "edits", "allow fetch(10.0.0.1)", "ask"),
    Row(fetch("fd00::1"), "edits", "allow fetch([fd00::1])", "allow"),
    Row(fetch("docs.python.org"), "yolo", "allow fetch(docs.python.org) | deny fetch(python.org)", "allow"),
    Row(fetch("www.python.org"), "yolo", "allow fetch(docs.python.org) | deny fetch(python.org)", "deny"),
    Row(fetch("python.org"), "yolo", "allow fetch(python.org) | deny fetch(python.org)", "deny"),
    Row(fetch("python.org"), "yolo", "allow fetch(python.org) | deny fetch(*)", "allow"),
    Row(fetch("python.org", tool="web_fetch"), "edits", "allow fetch(python.org)", "allow"),
    Row(fetch("python.org", tool="web_fetch"), "edits", "deny fetch(python.org) | allow web_fetch(python.org)", "deny"),
    Row(fetch("python.org"), "edits", "allow web_fetch(python.org)", "ask"),
    Row(fetch(tool="web_search"), "edits", "allow web_search", "allow"),
    Row(fetch(tool="web_search"), "edits", "allow fetch(*)", "ask"),
    # what is fetched into a file
    Row(fetch("a.org", tool="download", writes="a.zip"), "edits", "allow download(a.org)", "allow"),
    Row(fetch("a.org", tool="download", writes="a.zip"), "edits", "allow fetch(a.org)", "allow"),
    Row(fetch("a.org", tool="download", writes="a.zip"), "ask", "allow download(a.org)", "ask"),
    Row(fetch("a.org", tool="download", writes="a.zip"), "ask", "allow fetch", "ask"),
    Row(fetch("a.org", tool="download", writes="a.zip"), "ask", "allow download", "allow"),
    Row(fetch("a.org", tool="download", writes="a.zip"), "ask", "allow fetch | allow edit(*.zip)", "allow"),
    Row(fetch("a.org", tool="download", writes="a.zip"), "edits", "allow fetch | deny edit(*.zip)", "deny"),
    Row(fetch("a.org", tool="download", writes="/etc/x"), "edits", "allow fetch", "ask"),
    Row(fetch("a.org", tool="download", writes=".git/hooks/x"), "edits", "allow download", "ask"),
    # protected places: only a rule that names them opens them
    Row(edit(".git/hooks/x"), "edits", "allow edit", "ask"),
    Row(edit(".git/hooks/x"), "edits", "allow edit(**)", "ask"),
    Row(edit(".git/hooks/x"), "edits", "allow edit(**/x)", "ask"),
    Row(edit(".git/hooks/x"), "edits", "allow edit(.git/**)", "allow"),
    Row(edit(".git/hooks/x"), "edits", "allow edit(.git/hooks/x)", "allow"),
    Row(edit("a/.bashrc"), "edits", "allow edit(**/.bashrc)", "allow"),
    Row(bash("?echo x", writes=".git/hooks/x"), "edits", "allow edit", "ask"),
    Row(bash("?echo x", writes=".git/hooks/x"), "edits", "allow bash", "allow"),
    # the agent's own folders, wherever they are
    Row(replace(edit("state/token"), own=("/work/app/state",)), "edits", "", "ask"),
    Row(replace(edit("state/token"), own=("/work/app/state",)), "edits", "allow edit(**)", "ask"),
    Row(replace(edit("state/token"), own=("/work/app/state",)), "edits", "allow edit(state/*)", "allow"),
    Row(replace(edit("state/token"), own=("/work/app/state",)), "plan", "allow edit(state/*)", "deny"),
    Row(replace(edit("state/token"), own=("/work/app/state",)), "yolo", "", "allow"),
    Row(replace(edit("stated"), own=("/work/app/state",)), "edits", "", "allow"),
    # a command that names a protected place
    Row(named("cp x .git/hooks/y", ".git/hooks/y"), "edits", "allow bash(cp *)", "ask"),
    Row(named("cp x .git/hooks/y", ".git/hooks/y"), "edits", "allow bash(cp x .git/hooks/*)", "ask"),
    Row(named("cp x .git/hooks/y", ".git/hooks/y"), "edits", "allow bash(cp * .git/hooks/y)", "allow"),
    Row(named("cp x .git/hooks/y", ".git/hooks/y"), "edits", "allow bash", "allow"),
    Row(named("cp x .git/hooks/y", ".git/hooks/y"), "yolo", "", "allow"),
    # servers
    Row(fetch("docs.python.org"), "edits", "allow fetch(docs.python.org)", "allow"),
    Row(fetch("docs.python.org"), "edits", "allow fetch(Docs.Python.org)", "allow"),
    Row(fetch("docs.python.org"), "edits", "allow fetch(python.org)", "ask"),
    Row(fetch("docs.python.org"), "edits", "allow fetch(*.python.org)", "allow"),
    Row(fetch("a.docs.python.org"), "edits", "allow kind:fetch(*.python.org)", "allow"),
    Row(fetch("python.org"), "edits", "allow fetch(*.python.org)", "ask"),
    Row(fetch("evilpython.org"), "edits", "allow fetch(*.python.org)", "ask"),
    Row(fetch("python.org.evil.example"), "edits", "allow fetch(*.python.org)", "ask"),
    Row(fetch("docs.python.org"), "edits", "allow fetch(*)", "allow"),
    Row(fetch("docs.python.org"), "yolo", "deny fetch(python.org)", "deny"),
    Row(fetch("docs.python.org"), "edits", "allow fetch | deny fetch(*.org)", "deny"),
    Row(fetch("docs.python.org"), "edits", "deny fetch(python.org) | allow fetch(docs.python.org)", "allow"),
    Row(fetch("localhost:8080"), "edits", "allow fetch(localhost)", "allow"),
    Row(fetch("localhost:8080"), "edits", "allow fetch(localhost:8080)", "allow"),
    Row(fetch("localhost:8081"), "edits", "allow fetch(localhost:8080)", "ask"),
    Row(fetch("localhost"), "edits", "allow fetch(localhost:8080)", "ask"),
    Row(fetch("10.1.2.3"), "edits", "allow fetch(10.*)", "allow"),
    Row(fetch("1.2.3.10"), "edits", "allow fetch(10.*)", "ask"),
    Row(fetch("[::1]:8080"), "edits", "allow fetch([::1])", "allow"),
    Row(fetch("a.example", "b.example"), "edits", "allow fetch(a.example)", "ask"),
    Row(fetch("a.example", writes="x"), "edits", "allow fetch(a.example)", "allow"),
    Row(fetch("a.example", writes="x"), "ask", "allow fetch(a.example)", "ask"),
    Row(fetch("a.example", writes=".git/config"), "edits", "allow fetch(a.example)", "ask"),
    Row(fetch("a.example", writes="x"), "edits", "allow fetch | deny edit(x)", "deny"),
    # a program of that name, in whatever folder
    Row(bash("/bin/rm x"), "yolo", "deny bash(rm *)", "deny"),
    Row(bash("../rm x"), "edits", "allow bash(rm *)", "ask"),
    # commands
    Row(bash("npm test"), "edits", "allow bash(npm test)", "allow"),
    Row(bash("npm test --watch"), "edits", "allow bash(npm test)", "ask"),
    Row(bash("npm test --watch"), "edits", "allow bash(npm test *)", "allow"),
    Row(bash("npm test"), "edits", "allow bash(npm test *)", "allow"),
    Row(bash("npm tester"), "edits", "allow bash(npm test *)", "ask"),
    Row(bash("npm run test:unit"), "edits", "allow bash(npm run test:*)", "allow"),
    Row(bash("npm run test:unit -- -v"), "edits", "allow bash(npm run test:*)", "ask"),
    Row(bash("git -C x push --force"), "edits", "deny bash(git * push *)", "deny"),
    Row(bash("git push"), "edits", "deny bash(git * push *)", "deny"),
    Row(bash("git commit -m fix_the_push"), "edits", "allow bash(git commit *) | deny bash(git * push *)", "allow"),
    Row(bash("git commit -m fix_it"), "edits", "allow bash(git commit -m 'fix it')", "allow"),
    Row(bash("git commit -m fix it"), "edits", "allow bash(git commit -m 'fix it')", "ask"),
    Row(bash("rm *"), "edits", "allow bash(rm '*')", "allow"),
    Row(bash("rm -rf"), "edits", "allow bash(rm '*')", "ask"),
    Row(bash("npm ci", "npm test"), "edits", "allow bash(npm test)", "ask"),
    Row(bash("npm ci", "npm test"), "edits", "allow bash(npm test) | allow bash(npm ci)", "allow"),
    Row(bash("npm ci", "npm test"), "edits", "allow bash(npm ci; npm test)", "allow"),
    Row(bash("npm ci", "git push"), "edits", "allow bash(npm ci) | deny bash(git push)", "deny"),
    Row(bash("npm ci", "git push"), "yolo", "deny bash(git push)", "deny"),
    Row(bash("npm test", "?tail -5"), "edits", "allow bash(npm test)", "allow"),
    Row(bash("npm test", "?tail -5"), "ask", "allow bash(npm test)", "allow"),
    Row(bash("?tail -5"), "ask", "allow bash(npm test)", "ask"),
    Row(bash("npm test", "?cat /etc/passwd @/etc/passwd"), "ask", "allow bash(npm test)", "ask"),
    Row(bash("npm test", "?cat x"), "ask", "allow bash(npm test) | ask bash(cat *)", "ask"),
    Row(bash("?cat /etc/passwd @/etc/passwd"), "edits", "allow bash(cat *)", "allow"),
    Row(bash("npm test", opaque=True), "edits", "allow bash(npm test)", "ask"),
    Row(bash("npm test", opaque=True), "edits", "allow bash(*)", "ask"),
    Row(bash("npm test", opaque=True), "edits", "allow bash | deny bash(npm *)", "deny"),
    Row(bash("?git status"), "edits", "ask bash", "ask"),
    Row(bash("?git status"), "edits", "deny bash", "deny"),
    Row(bash("?git log"), "plan", "ask bash(git log)", "ask"),
    Row(bash("npm test"), "edits", "allow kind:execute(npm test)", "allow"),
    # what a line writes
    Row(bash("npm test", writes="out.txt"), "edits", "allow bash(npm test)", "allow"),
    Row(bash("npm test", writes="/tmp/out"), "edits", "allow bash(npm test)", "ask"),
    Row(bash("npm test", writes="/tmp/out"), "edits", "allow bash(npm test) | allow edit(/tmp/**)", "allow"),
    Row(bash("npm test", writes="/tmp/out"), "edits", "allow bash", "allow"),
    Row(bash("?echo x", writes="secrets/key"), "edits", "deny edit(secrets)", "deny"),
    Row(bash("?echo x", writes="secrets/key"), "edits", "allow bash | deny edit(secrets)", "deny"),
    Row(bash("?echo x", writes="secrets/key"), "edits", "allow bash | deny kind:edit", "deny"),
    Row(bash("?echo x", writes="secrets/key"), "edits", "deny bash(secrets/*)", "allow"),
    Row(replace(bash("?echo x", writes="secrets/key"), tool="task"), "edits", "deny task(secrets)", "allow"),
    # narrower overrules wider
    Row(bash("git push origin"), "edits", "deny bash | allow bash(git push *)", "allow"),
    Row(bash("git push origin"), "edits", "allow bash | deny bash(git push *)", "deny"),
    Row(bash("git push origin"), "edits", "deny bash(git *) | allow bash(git push origin)", "allow"),
    Row(
        bash("git push origin"),
        "edits",
        "deny bash(git *) | allow bash(git push origin) | ask bash(git push *)",
        "allow",
    ),
    Row(bash("git push origin"), "edits", "allow bash(git *) | ask bash(git push *)", "ask"),
    Row(bash("git push origin"), "edits", "deny bash(git push *) | allow bash(* origin)", "deny"),
    Row(edit("docs/a.md"), "edits", "deny edit(docs) | allow edit(docs/a.md)", "allow"),
    Row(edit("src/x/.env"), "edits", "deny edit(**/.env) | allow edit(src/x/**)", "deny"),
    Row(edit("src/x/.env"), "edits", "deny edit(**/.env) | allow edit(src/x/.env)", "allow"),
    Row(edit("src/a.py"), "edits", "deny kind:edit(src/**) | allow edit(src/**)", "allow"),
    Row(edit("src/a.py"), "edits", "deny edit | allow kind:edit(src/**)", "deny"),
    Row(edit("src/a.py"), "edits", "deny kind:edit | allow edit", "allow"),
    # equal rules: deny, ask, allow; between scopes the nearer one
    Row(edit("src/a.py"), "edits", "allow edit(src/a.py) | deny edit(src/a.py)", "deny"),
    Row(edit("src/a.py"), "edits", "deny edit(src/**) | allow edit(src/**)", "deny"),
    Row(edit("src/a.py"), "edits", "ask edit(src/**) | allow edit(src/)", "ask"),
    Row(edit("src/a.py"), "edits", "ask edit(src/**) | session: allow edit(src/**)", "allow"),
    Row(edit("src/a.py"), "edits", "deny edit(src/**) | run: allow edit(src/**)", "allow"),
    Row(edit("src/a.py"), "edits", "session: deny edit(src/**) | run: allow edit(src/**)", "allow"),
    Row(edit("src/a.py"), "edits", "allow edit(src/**) | session: deny edit(src/**)", "deny"),
    Row(edit("src/a.py"), "edits", "deny edit(src/a.py) | run: allow edit(src/**)", "deny"),
    Row(edit("src/a.py"), "edits", "deny edit(src/a.py) | run: allow edit", "deny"),
    Row(bash("npm test"), "edits", "ask bash(npm *) | run: allow bash", "ask"),
    # a project takes away, and never gives
    Row(edit("src/a.py"), "edits", "project: deny edit(src/**)", "deny"),
    Row(edit("src/a.py"), "yolo", "project: deny edit(src/**)", "deny"),
    Row(edit("src/a.py"), "edits", "allow edit(src/a.py) | project: deny edit(src/**)", "allow"),
    Row(edit("src/a.py"), "edits", "allow edit | project: deny edit(src/**)", "deny"),
    Row(edit("src/a.py"), "edits", "allow edit(src/**) | project: deny edit(src/**)", "deny"),
    Row(edit("src/a.py"), "edits", "run: allow edit(src/**) | project: deny edit(src/**)", "allow"),
    Row(bash("git status"), "edits", "deny bash | project: ask bash(git status)", "deny"),
    Row(bash("git status"), "edits", "deny bash | project: allow bash(git status)", "deny"),
    Row(bash("git status"), "edits", "project: deny bash | project: ask bash(git status)", "ask"),
    # what cannot be resolved takes away, and never gives
    Row(replace(edit("src/a.py"), root=""), "ask", "allow edit(src/**)", "ask"),
    Row(replace(edit("src/a.py"), root=""), "edits", "deny edit(src/**)", "deny"),
    Row(replace(view("/home/ann/.ssh/id"), home=""), "edits", "allow view(~/.ssh/**)", "ask"),
    Row(replace(view("/home/ann/.ssh/id"), home=""), "yolo", "deny view(~/.ssh)", "deny"),
]


@pytest.mark.parametrize("number", range(len(MODE_TABLE)))
def test_modes(number: int) -> None:
    row = MODE_TABLE[number]
    verdict = check(row.access, rules(row.rules), row.mode)
    assert verdict.answer == row.answer, (row, verdict)


@pytest.mark.parametrize("number", range(len(RULE_TABLE)))
def test_rules(number: int) -> None:
    row = RULE_TABLE[number]
    verdict = check(row.access, rules(row.rules), row.mode)
    assert verdict.answer == row.answer, (row, verdict)


# Rules as text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not begin with the name of a tool"),
        ("(x)", "does not begin"),
        ("edit docs", "'edit docs' is not the name of a tool"),
        ("edit(docs", "not closed"),
        ("edit(docs) more", "not closed at its end"),
        ("edit()", "nothing is between the parentheses; for everything, write edit"),
        ("bash(  )", "write bash"),
        ("kind:write", "there is no kind 'write'; the kinds are read, edit"),
        ("bash(echo 'x)", "the quote ' is not closed"),
        ("bash(npm ci;)", "a command is missing beside a `;`"),
        ("edit(../x)", "never matches"),
        ("edit(a\x00)", "control character"),
        ("fetch(https://a.org/x)", "is a host, such as docs.python.org"),
        ("download(a..org)", "is a host"),
        ("kind:fetch(a.org:http)", "is a host"),
    ],
)
def test_nonsense_is_refused_with_advice(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_rule(text, "user")
    assert says in str(caught.value)
    assert "bash(npm run *)" in str(caught.value)


@pytest.mark.parametrize("text", ["bash(find . -name ';')", "edit(a(b).py)", "bash(f (x))", " edit ", "edit(it's)"])
def test_unusual_rules_are_understood(text: str) -> None:
    assert parse_rule(text, "run") == Rule("allow", text.strip(), "run")


def test_a_rule_of_another_version_takes_away_and_never_gives() -> None:
    strange = Rule("allow", "edit(docs/**) unless night", "session")
    assert check(edit("docs/a.md"), [strange], "ask").answer == "ask"
    assert check(edit("src/a.py"), [replace(strange, answer="deny")], "edits").answer == "deny"


# Reasons


def test_a_denial_names_the_rule_its_source_and_what_would_help() -> None:
    verdict = check(bash("git push --force"), rules("project: deny bash(git push *)"), "edits")
    assert verdict.answer == "deny"
    assert "`deny bash(git push *)` in the project's configuration" in verdict.reason
    assert "`git push --force`" in verdict.reason
    assert "Only the user can permit it" in verdict.reason


def test_plan_says_what_to_do_instead() -> None:
    verdict = check(edit("src/a.py"), [], "plan")
    assert "mode plan is read only" in verdict.reason
    assert "`src/a.py`" in verdict.reason
    assert "switch to mode edits" in verdict.reason


@pytest.mark.parametrize(
    ("access", "mode", "says"),
    [
        (view("/etc/hosts"), "edits", "`/etc/hosts` is outside of the workspace"),
        (edit("a.py"), "ask", "`a.py` would be changed"),
        (edit(".git/hooks/x"), "edits", "protected place"),
        (bash("npm install"), "edits", "`npm install` is not known to only read"),
        (bash("?cat /etc/x @/etc/x"), "edits", "names what is outside of the workspace: /etc/x"),
        (bash("?ls"), "ask", "every command is asked about"),
        (bash("x", opaque=True), "edits", "not all of `x` was understood"),
        (fetch("a.example"), "edits", "`a.example` is a server"),
        (touch("other", "mcp_a"), "edits", "`mcp_a` is for a server to do"),
        (bash("a", "b", "c", "d", "e"), "edits", "and 2 more"),
    ],
)
def test_asking_says_why(access: Access, mode: Mode, says: str) -> None:
    verdict = check(access, [], mode)
    assert verdict.answer == "ask"
    assert says in verdict.reason
    assert f"mode {mode}" in verdict.reason


def test_a_long_command_is_shown_short() -> None:
    assert len(check(bash("x" * 5000), [], "edits").reason) < 300


# "Always"


@pytest.mark.parametrize(
    ("access", "mode", "always"),
    [
        (bash("rm -rf build"), "edits", "bash(rm -rf build)"),
        (bash("npm test"), "edits", "bash(npm test *)"),
        (bash("npm run lint --fix"), "edits", "bash(npm run lint *)"),
        (bash("python -m pytest tests -q"), "edits", "bash(python -m pytest *)"),
        (bash("python x.py"), "edits", "bash(python x.py)"),
        (bash("git commit -m it_works"), "edits", "bash(git commit *)"),
        (bash("git push origin main"), "edits", "bash(git push origin main)"),
        (bash("?cd x", "npm ci", "npm test", "npm ci"), "edits", "bash(npm ci; npm test *)"),
        (bash("npm test", "?tail"), "ask", "bash(npm test *)"),
        (bash("?git status"), "ask", "bash(git status)"),
        (bash("sh -c it's"), "edits", 'bash(sh -c "it\'s")'),
        (bash("find . ;"), "edits", "bash(find . ';')"),
        (edit("src/a.py"), "ask", "edit(src/a.py)"),
        (edit("~/a.py"), "ask", "edit(/work/app/~/a.py)"),
        (edit(".git/hooks/x"), "edits", "edit(.git/hooks/x)"),
        (edit("src/*.py"), "ask", None),
        (edit("a.py", "b.py"), "ask", None),
        (view("/etc/hosts"), "edits", "view(/etc/hosts)"),
        (grep("/usr/include"), "edits", "grep(/usr/include/)"),
        (bash("?echo x", writes="/tmp/out"), "edits", "edit(/tmp/out)"),
        (bash("make", writes="/tmp/out"), "edits", None),
        (bash("x", opaque=True), "edits", None),
        (bash("?ls", opaque=True), "edits", None),
        (bash("curl x", "sh"), "edits", None),
        (bash("/usr/bin/python3.12 -"), "edits", None),
        (bash("find .", "xargs -0 rm"), "edits", None),
        (touch("other", "mcp_a"), "edits", "mcp_a"),
        (fetch("docs.python.org"), "edits", "fetch(docs.python.org)"),
        (fetch("localhost:8080"), "edits", "fetch(localhost:8080)"),
        (named("cp x .git/y", ".git/y"), "edits", "bash(cp x .git/y)"),
        (fetch("fd00::1", tool="web_fetch"), "plan", "web_fetch(fd00::1)"),
        (fetch(tool="web_search"), "edits", "web_search"),
        (fetch("a.org", tool="download", writes="a.zip"), "edits", "download(a.org)"),
        (fetch("a.org", tool="download", writes="a.zip"), "ask", None),
    ],
)
def test_always_is_the_narrowest_useful_rule(access: Access, mode: Mode, always: str | None) -> None:
    verdict = check(access, [], mode)
    assert (verdict.answer, verdict.always) == ("ask", always)


def test_always_answers_a_rule_that_asks_with_the_very_words() -> None:
    verdict = check(bash("npm test -u"), rules("ask bash(npm test -u *)"), "edits")
    assert verdict.always == "bash(npm test -u)"


def test_headless_names_what_to_pass() -> None:
    access = bash("npm install")
    reason = headless_reason(access, check(access, [], "edits"))
    assert "--allow 'bash(npm install)'" in reason
    assert "--yolo" in reason
    assert "not known to only read" in reason


def test_headless_names_the_tool_where_no_pattern_can_help_and_quotes_for_a_shell() -> None:
    opaque = bash("x", opaque=True)
    assert "--allow 'bash'" in headless_reason(opaque, check(opaque, [], "edits"))
    assert "--allow 'bash(a '\\''b c'\\'')'" in headless_reason(opaque, Verdict("ask", "why", "bash(a 'b c')"))
