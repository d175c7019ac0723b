"""Language servers as processes: what they say is understood, and nothing that they do costs more than a bounded wait."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quell.core.languages import Diagnostic, Nobody, Spot, Symbol, Unanswered
from quell.lsp import LanguageServers, Server, server
from quell.workspace.programs import LocalPrograms
from tests.cli.command import Home, until

SPOKEN = str(Path(__file__).with_name("spoken.py"))
ENVIRONMENT = dict(os.environ)
TEXT = "def go():\n    bad, odd = 1, 2\n𝒳 = go()\n"


def spoken(behaviour: str = "good", **fields: object) -> Server:
    command = (sys.executable, "-S", SPOKEN, behaviour)
    return Server(**{"name": behaviour, "command": command, "filetypes": ("txt",), **fields})  # type: ignore[arg-type]  # the test's


class Place:
    """A workspace with a file, and language servers for it."""

    def __init__(self, folder: Path) -> None:
        self.root = str(folder)
        self.file = folder / "a.txt"
        self.file.write_text(TEXT)
        self.path = str(self.file)
        self.servers: list[Server] = []
        self.languages: LanguageServers

    def has(self, *servers: Server) -> LanguageServers:
        self.servers[:] = servers
        self.languages = LanguageServers(lambda root: self.servers, LocalPrograms(), {"QUELL_TEST_KEY"})
        return self.languages

    def processes(self) -> list[int]:
        return Home.processes_with(None, b"spoken.py", Path(self.root))  # type: ignore[arg-type]  # it needs no home


async def ready(languages: LanguageServers, place: Place) -> None:
    """The first one has begun."""
    while languages.states(place.root)[0].state != "ready":  # noqa: ASYNC110  # of other processes there is no event
        await asyncio.sleep(0.005)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    until(lambda: not place.processes())


async def test_what_it_says_is_of_the_content_that_it_was_told(place: Place) -> None:
    languages = place.has(spoken())
    try:
        (found,) = await languages.changed(place.root, place.path, TEXT, ENVIRONMENT)
        assert found.diagnostics == (
            Diagnostic(2, 5, "error", "bad is here", "", "7"),
            Diagnostic(2, 10, "warning", "odd is here", "", "7"),
        )
        (found,) = await languages.changed(place.root, place.path, "all is well", ENVIRONMENT)
        assert (found.diagnostics, found.problem) == ((), "")
        assert languages.known(place.root) == []
        assert [(each.name, each.state) for each in languages.states(place.root)] == [("good", "ready")]
    finally:
        await languages.close()


async def test_it_is_asked_at_places_counted_as_it_counts(place: Place) -> None:
    """After a character that is two units of UTF-16."""
    languages = place.has(spoken())
    try:
        arguments = (place.root, place.path, TEXT, (3, 5), ENVIRONMENT)
        assert await languages.places("definition", *arguments) == [Spot(place.path, 1, 5)]
        assert [spot.line for spot in await languages.places("references", *arguments)] == [1, 3]
        assert await languages.symbols(place.root, place.path, TEXT, ENVIRONMENT) == [Symbol("go", "function", 1, 1)]
        with pytest.raises(Nobody):
            await languages.symbols(place.root, place.root + "/a.md", TEXT, ENVIRONMENT)
    finally:
        await languages.close()


async def test_it_is_asked_as_it_counts_also_when_it_has_not_begun_yet(place: Place) -> None:
    languages = place.has(spoken("points"))
    try:
        arguments = (place.root, place.path, TEXT.replace("𝒳", "𝒳𝒳𝒳"), (3, 7), ENVIRONMENT)
        assert await languages.places("definition", *arguments) == [Spot(place.path, 1, 5)]
    finally:
        await languages.close()


async def test_of_several_the_first_that_can_is_asked(place: Place) -> None:
    languages = place.has(spoken("linter"), spoken("good"))
    try:
        assert await languages.symbols(place.root, place.path, TEXT, ENVIRONMENT) == [Symbol("go", "function", 1, 1)]
        place.has(spoken("linter"), spoken("linter", name="other"))
        with pytest.raises(Nobody, match=r"^linter and other cannot tell what is in a file\.$"):
            await place.languages.symbols(place.root, place.path, TEXT, ENVIRONMENT)
    finally:
        await languages.close()
        await place.languages.close()


async def test_one_that_says_later_what_it_can_is_believed(place: Place) -> None:
    languages = place.has(spoken("joins"))
    try:
        await languages.changed(place.root, place.path, TEXT, ENVIRONMENT)  # it has joined before it speaks of that
        arguments = (place.root, place.path, TEXT, (3, 5), ENVIRONMENT)
        assert await languages.places("definition", *arguments) == [Spot(place.path, 1, 5)]
        with pytest.raises(Nobody):
            await languages.places("references", *arguments)
    finally:
        await languages.close()


@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        ("mute", "it is still starting"),
        ("deaf", "it has not said anything within 0.3 s"),
        ("dies", "it has ended: spoken: out of memory"),
        ("rude", "it says what is no message of the protocol"),
        ("missing", "it could not be started: No such file or directory"),
    ],
)
async def test_one_that_does_not_work_costs_a_bounded_wait_and_says_why(
    place: Place, monkeypatch: pytest.MonkeyPatch, behaviour: str, problem: str
) -> None:
    """One that hangs while it starts is waited for once."""
    if behaviour == "mute":
        monkeypatch.setattr(server, "PATIENCE", 0.3)
    if behaviour == "deaf":
        monkeypatch.setattr(server, "FIRST_SIGN", 0.3)
    monkeypatch.setattr(server, "ANSWER_WITHIN", 0.1)
    broken = spoken(behaviour) if behaviour != "missing" else spoken("good", command=("/nowhere/server",))
    languages = place.has(broken)
    try:
        for _ in range(2):
            (found,) = await languages.changed(place.root, place.path, TEXT, ENVIRONMENT)
            assert found.problem == problem
            monkeypatch.setattr(server, "PATIENCE", 1000.0)
        with pytest.raises(Unanswered):
            await languages.symbols(place.root, place.path, TEXT, ENVIRONMENT)
    finally:
        await languages.close()


async def test_one_that_says_things_without_end_is_heard_for_a_while(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as an edit waits, from when it is told: its start is not counted here."""
    languages = place.has(spoken("floods"))
    try:
        languages.touched(place.root, place.path, ENVIRONMENT)
        await ready(languages, place)
        monkeypatch.setattr(server, "PATIENCE", 0.5)
        (found,) = await languages.changed(place.root, place.path, TEXT, ENVIRONMENT)
        assert len(found.diagnostics) == 2
    finally:
        await languages.close()


async def test_one_that_is_too_slow_to_start_is_ended(place: Place) -> None:
    languages = place.has(spoken("mute", timeout=0.1))
    try:
        (found,) = await languages.changed(place.root, place.path, TEXT, ENVIRONMENT)
        assert found.problem == "it did not start within 0.1 s"
    finally:
        await languages.close()


async def test_a_cancel_is_raised_at_once_and_the_server_is_told(place: Place) -> None:
    languages = place.has(spoken("deaf"))
    try:
        languages.touched(place.root, place.path, ENVIRONMENT)
        async with asyncio.TaskGroup() as group:
            waits = [
                group.create_task(languages.changed(place.root, place.path, TEXT, ENVIRONMENT)),
                group.create_task(languages.symbols(place.root, place.path, TEXT, ENVIRONMENT)),
            ]
            await ready(languages, place)
            for wait in waits:
                wait.cancel()
        assert [wait.cancelled() or wait.exception() for wait in waits] == [True, True]
    finally:
        await languages.close()


async def test_it_works_in_the_nearest_folder_with_a_mark_and_without_keys(place: Place) -> None:
    inner = Path(place.root) / "inner" / "deep"
    inner.mkdir(parents=True)
    (inner.parent / "mark").touch()
    languages = place.has(spoken(root_markers=("mark",)))
    try:
        await languages.changed(
            place.root, str(inner / "b.txt"), TEXT, ENVIRONMENT | {"QUELL_TEST_KEY": "sk-0123456789"}
        )
        (state,) = languages.states(place.root)
        assert state.folder == str(inner.parent)
        (pid,) = Home.processes_with(None, b"spoken.py good", inner.parent) or Home.processes_with(  # type: ignore[arg-type]  # as above
            None,  # type: ignore[arg-type]  # as above
            b"spoken.py",
            inner.parent,
        )
        assert b"QUELL_TEST_KEY" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert await languages.changed(place.root, place.path, TEXT, ENVIRONMENT) == []  # no mark above it
    finally:
        await languages.close()


async def test_restarting_ends_it_and_the_next_need_starts_another(place: Place) -> None:
    languages = place.has(spoken("good"))
    try:
        await languages.changed(place.root, place.path, TEXT, ENVIRONMENT)
        (first,) = place.processes()
        assert languages.restart(place.root, "other") == []
        assert languages.restart(place.root) == ["good"]
        (found,) = await languages.changed(place.root, place.path, TEXT, ENVIRONMENT)
        assert len(found.diagnostics) == 2
        await asyncio.to_thread(until, lambda: first not in place.processes())
    finally:
        await languages.close()


async def test_one_that_nobody_needs_is_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quell.lsp.IDLE", 0.05)
    languages = place.has(spoken("stubborn"))
    languages.touched(place.root, place.path, ENVIRONMENT)
    await asyncio.to_thread(until, lambda: not languages.states(place.root))
    await languages.close()


async def test_a_real_one(place: Place) -> None:
    """`ruff server`, which the checks of this repository bring along."""
    ruff = Path(sys.executable).with_name("ruff")
    languages = place.has(Server(name="ruff", command=(str(ruff), "server"), filetypes=("py",)))
    path = str(Path(place.root) / "a.py")
    try:
        (found,) = await languages.changed(place.root, path, "import os\n", ENVIRONMENT)
        assert [(each.line, each.code) for each in found.diagnostics] == [(1, "F401")]
        (found,) = await languages.changed(place.root, path, "x = 1\n", ENVIRONMENT)
        assert (found.diagnostics, found.problem) == ((), "")
    finally:
        await languages.close()
