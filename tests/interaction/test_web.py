"""The tools of the web under cancel and permissions: the real server, a scripted model, and a web server that hangs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from quell.client.client import NewPrompt, NewSession
from tests.adversarial.server import response, server, silence
from tests.cli.command import Home
from tests.interaction.conversation import Chat, results
from tests.interaction.process import serving

SCRIPT = """
[[when]]
prompt = "web"
[[when.reply]]
step = [{ tool = "%s", input = { %s } }]
[[when.reply]]
step = [{ text = "Done." }]
"""


@pytest.fixture
def home() -> Iterator[Home]:
    made = Home()
    made.configure('[network]\nallow_private = ["127.0.0.1"]\n')
    yield made
    made.close()


def scripted(home: Home, tool: str, input: str) -> str:
    script = home.root / "web.toml"
    script.write_text(SCRIPT % (tool, input), encoding="utf-8")
    return f"scripted:{script}"


@pytest.mark.parametrize("tool", ["fetch", "web_fetch", "download"])
async def test_c7_c8_a_cancel_while_a_server_hangs_settles_and_closes_the_connection(home: Home, tool: str) -> None:
    async with server({"/": silence}) as hanging, serving(home) as client:
        more = ', file_path = "f"' if tool == "download" else ""
        model = scripted(home, tool, f'url = "{hanging.url()}"{more}')
        created = await client.create(NewSession(workspace=str(home.workspace), model=model, mode="yolo"))
        chat = Chat(client, created.id)
        await chat.says("web", id="p")
        await hanging.until(lambda: bool(hanging.heads))
        await chat.stops()
        assert (await chat.ended("p")).outcome == "cancelled"
        await hanging.until(lambda: hanging.open == 0)
        assert results(await chat.said())[0][1] == "cancelled"
        assert os.listdir(home.workspace) == []


async def test_headless_a_host_has_to_be_allowed_and_the_denial_names_the_rule(home: Home) -> None:
    async with server({"/": response(b"the page")}) as running, serving(home) as client:
        model = scripted(home, "fetch", f'url = "{running.url()}"')
        created = await client.create(NewSession(workspace=str(home.workspace), model=model, mode="edits"))
        chat = Chat(client, created.id)
        await chat.submit(NewPrompt(text="web", id="denied", on_ask="deny"))
        await chat.ended("denied")
        text, status = results(await chat.said())[0]
        assert status == "denied"
        assert f"--allow 'fetch(127.0.0.1:{running.port})'" in text
        assert running.heads == []
        await chat.submit(NewPrompt(text="web", id="allowed", on_ask="deny", allow=("fetch(127.0.0.1)",)))
        await chat.ended("allowed")
        assert results(await chat.said())[1] == ("the page", "completed")
