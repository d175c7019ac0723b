"""Language servers in memory, the fake of the port `Languages`; and what every such port does.

It finds an error in each line with the word `bad`; a name is defined where `def NAME` stands. A check gets a port with a server for `.txt` files
that works so, and one whose server answers nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from quell.core.languages import (
    Diagnostic,
    Findings,
    Languages,
    Nobody,
    Relation,
    ServerState,
    Spot,
    Symbol,
    Unanswered,
)

LanguagesCheck = Callable[[Languages, Languages, str, Mapping[str, str]], Awaitable[None]]
TEXT = "def go():\n    bad\ngo()\n"


class FakeLanguages:
    """One server, `fake`, for files that end in `.txt`; a `deaf` one never answers. `heard` is what it was told of files, by path."""

    def __init__(self, *, deaf: bool = False, problem: str = "") -> None:
        self.heard: dict[str, str] = {}
        self.asked = asyncio.Event()
        self._deaf = deaf
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

    def states(self, root: str) -> Sequence[ServerState]:
        return (ServerState("fake", root, "ready"),)

    async def places(
        self, relation: Relation, root: str, path: str, text: str, at: tuple[int, int], environment: Mapping[str, str]
    ) -> Sequence[Spot]:
        await self._asked(path, text)
        line = text.split("\n")[at[0] - 1]
        word = next((m[0] for m in re.finditer(r"\w+", line) if m.start() < at[1] <= m.end()), "")
        return [spot for name, spot in _definitions(path, text) if name == word]

    async def symbols(self, root: str, path: str, text: str, environment: Mapping[str, str]) -> Sequence[Symbol]:
        await self._asked(path, text)
        return [Symbol(name, "function", spot.line, spot.line) for name, spot in _definitions(path, text)]

    def restart(self, root: str, name: str = "") -> Sequence[str]:
        return ("fake",) if name in ("", "fake") else ()

    async def _asked(self, path: str, text: str) -> None:
        if not path.endswith(".txt"):
            raise Nobody(f"No language server is for {path}.")
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


async def what_is_wrong_is_of_the_content(works: Languages, deaf: Languages, root: str, env: Mapping[str, str]) -> None:
    path = f"{root}/a.txt"
    (found,) = await works.changed(root, path, TEXT, env)
    assert found.diagnostics == (Diagnostic(2, 5, "error", "bad is here", "", "7"),)
    assert [each.path for each in works.known(root)] == [path]
    (found,) = await works.changed(root, path, "well", env)
    assert found.diagnostics == ()
    assert not works.known(root)


async def of_other_files_nobody_knows(works: Languages, deaf: Languages, root: str, env: Mapping[str, str]) -> None:
    assert not await works.changed(root, f"{root}/a.md", TEXT, env)
    refused: Unanswered | None = None
    try:
        await works.symbols(root, f"{root}/a.md", TEXT, env)
    except Unanswered as problem:
        refused = problem
    assert refused is not None, "answered"
    assert refused.nobody


async def a_name_is_found_where_it_is_defined(
    works: Languages, deaf: Languages, root: str, env: Mapping[str, str]
) -> None:
    path = f"{root}/a.txt"
    assert list(await works.places("definition", root, path, TEXT, (3, 1), env)) == [Spot(path, 1, 5)]
    assert list(await works.symbols(root, path, TEXT, env)) == [Symbol("go", "function", 1, 1)]


async def who_waits_can_be_cancelled(works: Languages, deaf: Languages, root: str, env: Mapping[str, str]) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(deaf.symbols(root, f"{root}/a.txt", TEXT, env))
        for _ in range(3):
            await asyncio.sleep(0)
        waiting.cancel()
    assert waiting.cancelled()


LANGUAGES: tuple[LanguagesCheck, ...] = (
    what_is_wrong_is_of_the_content,
    of_other_files_nobody_knows,
    a_name_is_found_where_it_is_defined,
    who_waits_can_be_cancelled,
)
