"""Images in a session, from `view` to what a provider is sent: with the real server, the real command and a provider on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quell.core.messages import Text, ToolCall
from quell.llm.options import Dialect
from quell.testing.providers import Answer, Provider, Stream, provider
from tests.cli.command import Ended, Home
from tests.core.drawing import png

PICTURE = png(3, 2)
SHOWN = base64.b64encode(PICTURE).decode()
LOOKS = Stream(parts=(ToolCall("x", "view", '{"file_path": "dot.png"}'),))
SAYS = Stream(parts=(Text("It is red."),))


class Seeing:
    """A home whose provider is on loopback, with a model that sees (`mine/seer`) and one that does not (`mine/blind`)."""

    def __init__(self, home: Home, server: Provider) -> None:
        self.home = home
        self.server = server
        self.picture = home.workspace / "dot.png"
        self.picture.write_bytes(PICTURE)

    async def quell(self, *arguments: str) -> Ended:
        done = await asyncio.to_thread(self.home.quell, *arguments)
        assert done.status == 0, done
        return done

    async def run(self, *arguments: str, model: str = "mine/seer") -> str:
        """The id of the session."""
        done = await self.quell("run", "--json", "--model", model, *arguments)
        return str(done.json()["session"])

    def last(self) -> str:
        """What the provider was sent last."""
        return json.dumps(self.server.requests[-1].body, ensure_ascii=False)

    def kept(self, session: str) -> list[Path]:
        return list((self.home.data / "outputs" / session / "images").glob("*"))


@pytest.fixture
def home() -> Iterator[Home]:
    home = Home()
    yield home
    home.close()


@asynccontextmanager
async def seeing(home: Home, dialect: Dialect, *answers: Answer) -> AsyncIterator[Seeing]:
    async with provider(dialect, *answers) as server:
        home.configure(
            f'titles = false\n[providers.mine]\ndialect = "{dialect}"\nbase_url = "{server.base_url}"\n'
            "[providers.mine.models.seer]\nvision = true\n[providers.mine.models.blind]\nwindow = 1000000\n"
        )
        yield Seeing(home, server)


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_k7_k8_an_image_is_seen_for_as_long_as_its_session_is_there(home: Home, dialect: Dialect) -> None:
    async with seeing(home, dialect, LOOKS, SAYS) as it:
        session = await it.run("look at dot.png")
        assert SHOWN in it.last()
        it.picture.write_bytes(b"something else")
        await it.run("--session", session, "and again")
        assert SHOWN in it.last()
        fork = json.loads((await it.quell("sessions", "fork", session, "--json")).out)["id"]
        await it.quell("sessions", "delete", "--yes", session)
        assert it.kept(session) == []
        home.kill_server()
        await it.run("--session", fork, "and in the fork")
        assert SHOWN in it.last()
        (kept,) = it.kept(fork)
        kept.unlink()
        await it.run("--session", fork, "and without the file")
        assert SHOWN not in it.last()
        assert "dot.png is not shown here. View it again" in it.last()


async def test_i5_a_session_goes_on_with_a_model_that_cannot_see(home: Home) -> None:
    async with seeing(home, "openai", LOOKS, SAYS) as it:
        session = await it.run("look at dot.png")
        await it.run("--session", session, "what was it?", model="mine/blind")
        assert it.server.requests[-1].body["model"] == "blind"
        assert SHOWN not in it.last()
        assert "dot.png is not shown here. The model in use is not known to see" in it.last()
        await it.run("--session", session, "and now?")
        assert SHOWN in it.last()


async def test_a_model_that_cannot_see_is_told_why_it_sees_nothing(home: Home) -> None:
    async with seeing(home, "openai", LOOKS, SAYS) as it:
        session = await it.run("look at dot.png", model="mine/blind")
        assert "dot.png is a PNG image" in it.last()
        assert "not known to see images" in it.last()
        assert it.kept(session) == []


async def test_an_image_that_is_attached_is_shown_to_models_that_see(home: Home) -> None:
    async with seeing(home, "anthropic", SAYS) as it:
        await it.run("--file", "dot.png", "what is it?")
        assert SHOWN in it.last()
        await it.run("--file", "dot.png", "what is it?", model="mine/blind")
        assert SHOWN not in it.last()
        assert "dot.png, an image, was attached, but is not shown" in it.last()


async def test_an_attached_image_that_no_provider_takes_is_refused_before_anything_is_asked(home: Home) -> None:
    async with seeing(home, "openai", SAYS) as it:
        it.picture.write_bytes(PICTURE[:-1])
        done = await asyncio.to_thread(home.quell, "run", "--model", "mine/seer", "--file", "dot.png", "what is it?")
        assert done.status == 2
        assert "dot.png is a PNG image that is cut off or damaged" in done.err
        assert it.server.requests == []
        assert home.sessions() == []


async def test_a_session_whose_folder_is_gone_can_be_forked(home: Home) -> None:
    async with seeing(home, "openai", LOOKS, SAYS) as it:
        session = await it.run("look at dot.png")
        home.workspace.rename(home.root / "elsewhere")
        done = await asyncio.to_thread(home.quell, "sessions", "fork", session, "--json", cwd=home.root)
        fork = json.loads(done.out)["id"]
        (home.root / "elsewhere").rename(home.workspace)
        await it.run("--session", fork, "go on")
        assert "dot.png is not shown here" in it.last()


async def test_a_summary_and_people_get_its_name(home: Home) -> None:
    async with seeing(home, "openai", LOOKS, SAYS) as it:
        session = await it.run("look at dot.png")
        name = f"dot.png: PNG image, 3×2 pixels, {len(PICTURE)} bytes."
        for shown in (
            await it.quell("sessions", "show", session),
            await it.quell("sessions", "export", session, "--format", "markdown"),
            await it.quell("sessions", "export", session, "--format", "json"),
        ):
            assert "dot.png" in shown.out, shown
            assert SHOWN not in shown.out
        assert name in shown.out
        await it.quell("compact", session)
        assert SHOWN not in it.last()
        assert name in it.last()
        await it.run("--session", session, "go on")
        assert SHOWN not in it.last()
