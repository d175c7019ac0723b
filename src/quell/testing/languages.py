"""Language servers in memory, the fake of the port `Languages`; and what every such port does.

It finds an error in each line with the word `bad`; a name is defined where `def NAME` stands. A check gets a port with a server for `.txt` files
that works so, one whose server answers nothing, and one whose server finds errors and can do nothing else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct

from quell.core.languages import (
    Diagnostic,
    Findings,
    Languages,
    LanguageServerState,
    Nobody,
    Relation,
    Spot,
    Symbol,
    Unanswered,
)


class Given(Struct, frozen=True):
    """What is checked, in the workspace `root`."""

    works: Languages
    deaf: Languages
    linter: Languages
    root: str
    environment: Mapping[str, str]


LanguagesCheck = Callable[[Given], Awaitable[None]]
TEXT = "def go():\n    bad\ngo()\n"


class FakeLanguages:
    """One server, `fake`, for files that end in `.txt`; a `deaf` one never answers, a `linter` only finds errors. `heard` is what it was told
    of files, by path."""

    def __init__(self, *, deaf: bool = False, linter: bool = False, problem: str = "") -> None:
        self.heard: dict[str, str] = {}
        self.asked = asyncio.Event()
        self._deaf = deaf
        self._linter = linter
        self._problem = problem

    def offered(self, root: str) -> bool:
        return True

    def touched(self, root: str, path: str, environment: Mapping[str, str]) -> None:
        self.heard.setdefault(path, "")

    async def changed(self, root: str, path: str, text: str, environment: Mapping[str, str]) -> Sequence[Findings]:
        if not path.endswith(".txt"):
            return ()
        await self._hear(path, text)
        return (Findings("fake", path, () if self._problem else _wrong(text), self._problem),)

    def known(self, root: str) -> Sequence[Findings]:
        return [Findings("fake", path, _wrong(text)) for path, text in self.heard.items() if _wrong(text)]

    def states(self, root: str) -> Sequence[LanguageServerState]:
        return (LanguageServerState("fake", root, "ready"),)

    async def places(
        self, relation: Relation, root: str, path: str, text: str, at: tuple[int, int], environment: Mapping[str, str]
    ) -> Sequence[Spot]:
        await self._asked(path, text, "where a name is defined" if relation == "definition" else "where a name is used")
        line = text.split("\n")[at[0] - 1]
        word = next((m[0] for m in re.finditer(r"\w+", line) if m.start() < at[1] <= m.end()), "")
        return [spot for name, spot in _definitions(path, text) if name == word]

    async def symbols(self, root: str, path: str, text: str, environment: Mapping[str, str]) -> Sequence[Symbol]:
        await self._asked(path, text, "what is in a file")
        return [Symbol(name, "function", spot.line, spot.line) for name, spot in _definitions(path, text)]

    def restart(self, root: str, name: str = "") -> Sequence[str]:
        return ("fake",) if name in ("", "fake") else ()

    async def _asked(self, path: str, text: str, what: str) -> None:
        if not path.endswith(".txt"):
            raise Nobody(f"No language server is for {path}.")
        if self._linter:
            raise Nobody(f"fake cannot tell {what}.")
        await self._hear(path, text)
        if self._problem:
            raise Unanswered(f"fake cannot answer: {self._problem}.")

    async def _hear(self, path: str, text: str) -> None:
        self.heard[path] = text
        self.asked.set()
        if self._deaf:
            await asyncio.Event().wait()


def _wrong(text: str) -> tuple[Diagnostic, ...]:
    return tuple(
        Diagnostic(n, line.index("bad") + 1, "error", "bad is here", code="7")
        for n, line in enumerate(text.split("\n"), 1)
        if "bad" in line
    )


def _definitions(path: str, text: str) -> Sequence[tuple[str, Spot]]:
    return [
        (m[1], Spot(path, n, m.start(1) + 1))
        for n, line in enumerate(text.split("\n"), 1)
        for m in re.finditer(r"def (\w+)", line)
    ]


async def what_is_wrong_is_of_the_content(given: Given) -> None:
    path = f"{given.root}/a.txt"
    (found,) = await given.works.changed(given.root, path, TEXT, given.environment)
    assert found.diagnostics == (Diagnostic(2, 5, "error", "bad is here", "", "7"),)
    assert [each.path for each in given.works.known(given.root)] == [path]
    (found,) = await given.works.changed(given.root, path, "well", given.environment)
    assert found.diagnostics == ()
    assert not given.works.known(given.root)


async def of_other_files_nobody_knows(given: Given) -> None:
    assert not await given.works.changed(given.root, f"{given.root}/a.md", TEXT, given.environment)
    refused: Unanswered | None = None
    try:
        await given.works.symbols(given.root, f"{given.root}/a.md", TEXT, given.environment)
    except Unanswered as problem:
        refused = problem
    assert refused is not None, "answered"
    assert refused.nobody


async def a_name_is_found_where_it_is_defined(given: Given) -> None:
    path = f"{given.root}/a.txt"
    assert list(await given.works.places("definition", given.root, path, TEXT, (3, 1), given.environment)) == [
        Spot(path, 1, 5)
    ]
    assert list(await given.works.symbols(given.root, path, TEXT, given.environment)) == [
        Symbol("go", "function", 1, 1)
    ]


async def what_a_server_cannot_do_is_said(given: Given) -> None:
    path = f"{given.root}/a.txt"
    (found,) = await given.linter.changed(given.root, path, TEXT, given.environment)
    assert [each.line for each in found.diagnostics] == [2]
    refused: list[tuple[bool, str]] = []
    for asking in (
        given.linter.places("definition", given.root, path, TEXT, (3, 1), given.environment),
        given.linter.places("references", given.root, path, TEXT, (3, 1), given.environment),
        given.linter.symbols(given.root, path, TEXT, given.environment),
    ):
        try:
            await asking
        except Unanswered as problem:
            refused.append((problem.nobody, str(problem).partition(" cannot ")[2]))
    assert refused == [
        (True, "tell where a name is defined."),
        (True, "tell where a name is used."),
        (True, "tell what is in a file."),
    ]


async def who_waits_can_be_cancelled(given: Given) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(given.deaf.symbols(given.root, f"{given.root}/a.txt", TEXT, given.environment))
        for _ in range(3):
            await asyncio.sleep(0)
        waiting.cancel()
    assert waiting.cancelled()


LANGUAGES: tuple[LanguagesCheck, ...] = (
    what_is_wrong_is_of_the_content,
    of_other_files_nobody_knows,
    a_name_is_found_where_it_is_defined,
    what_a_server_cannot_do_is_said,
    who_waits_can_be_cancelled,
)
