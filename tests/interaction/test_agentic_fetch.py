"""`agentic_fetch`: the real server, a scripted model and its small one, and web servers on loopback that say what was asked of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quell.client.client import Client, NewPrompt, NewSession
from quell.core.messages import AssistantMessage, Message
from tests.adversarial.server import response, server, silence
from tests.cli.command import Home
from tests.interaction.conversation import Chat, results
from tests.interaction.process import serving

PAGE = b"<title>Long</title>" + b"".join(b"<h2>Part %d</h2><p>%s</p>" % (n, b"word " * 100) for n in range(200))


@pytest.fixture
def home() -> Iterator[Home]:
    made = Home()
    made.configure('[network]\nallow_private = ["127.0.0.0/8"]\n')
    yield made
    made.close()


async def asks(client: Client, home: Home, input: str, *child: str, **fields: object) -> Chat:
    """A session whose model calls the tool in its first reply, and whose small model does in its turns what `child` says."""
    reply = '[[reply]]\nstep = [{ tool = "agentic_fetch", input = { prompt = "What is it?"%s } }]\n' % (
        input and f", {input}"
    )
    script = home.root / "large.toml"
    script.write_text(reply + '[[reply]]\nstep = [{ text = "Done." }]\n', encoding="utf-8")
    turns = "\n".join(f"[[agent.reply]]\nstep = [{step}]" for step in child)
    (home.root / "small.toml").write_text(f'[[agent]]\nprompt = "What is it"\n{turns}\n', encoding="utf-8")
    created = await client.create(
        NewSession(
            workspace=str(home.workspace),
            model=f"scripted:{script}",
            small_model=f"scripted:{home.root}/small.toml",
            **{"mode": "edits", **fields},  # type: ignore[arg-type]  # the test's
        )
    )
    return Chat(client, created.id)


def fetch(url: str) -> str:
    return f'{{ tool = "web_fetch", input = {{ url = "{url}" }} }}'


async def only_child(client: Client, chat: Chat) -> Chat:
    (row,) = (await client.sessions(parent=chat.id)).items
    return Chat(client, row.id)


def said(messages: tuple[Message, ...]) -> list[str]:
    return [text for text, _ in results(messages)]


async def test_one_permission_for_the_host_and_what_the_sub_agent_does_with_it(home: Home) -> None:
    """It reads there, searches what was too long, and neither another host nor the project is in its reach, whatever rules allow to others."""
    home.configure('[network]\nallow_private = ["127.0.0.0/8"]\n[permissions.rules]\nallow = ["view", "kind:search"]\n')
    (home.workspace / "secret.txt").write_text("the project's")
    async with (
        server({"/": response(PAGE, type="text/html"), "/more": response(b"more")}) as asked,
        server({"/": response(b"elsewhere")}, host="127.0.0.2") as other,
        serving(home) as client,
    ):
        hidden = f'{{ tool = "view", input = {{ file_path = "{home.workspace}/secret.txt" }} }}'
        chat = await asks(
            client,
            home,
            f'url = "{asked.url()}"',
            fetch(asked.url()),
            '{ tool = "glob", input = { pattern = "*" } }',
            '{ tool = "grep", input = { pattern = "Part 150" } }',
            fetch(asked.url("/more")),
            fetch(other.url(host="127.0.0.2") + "?q=secret"),
            hidden,
            '{ tool = "bash", input = { command = "ls" } }',
            '{ tool = "web_search", input = { query = "secret" } }',
            '{ text = "It is part 150." }',
        )
        accepted = await chat.says("look")
        view = await chat.until(lambda view: view.requests)
        (request,) = view.requests
        assert (request.tool, request.title) == ("agentic_fetch", f"Look at {asked.url()} for: What is it?")
        assert request.always == f"agentic_fetch(127.0.0.1:{asked.port})"
        assert asked.heads == []
        await chat.answer(request.id, "allow_once")
        assert (await chat.ended(accepted)).outcome == "completed"
        assert results(await chat.said()) == [("It is part 150.", "completed")]

        child = await only_child(client, chat)
        summary = await child.show()
        assert (summary.model, summary.workspace) == (f"scripted:{home.root}/small.toml", str(home.workspace))
        page, kept, found, more, elsewhere, file, command, search = results(await child.said())
        assert "All of it is in" in page[0]
        assert kept[0].endswith(".md")
        assert "Part 150" in found[0]
        assert more == (f"{asked.url('/more')}\n\nmore", "completed")
        assert elsewhere[1] == "denied"
        assert file[1] == "failed"
        assert "it is outside of the folder that is yours" in file[0]
        assert "There is no tool `bash`" in command[0]
        assert search[1] == "failed"  # no engine is configured
        assert other.heads == []
        assert [head.split()[1] for head in asked.heads] == ["/", "/more"]


async def test_a_search_may_ask_whom_it_finds_but_whom_a_rule_denies(home: Home) -> None:
    async with (
        server({"/": response(b"the answer")}, host="127.0.0.2") as good,
        server({"/": response(b"evil")}, host="127.0.0.3") as evil,
        server() as engine,
        serving(home) as client,
    ):
        home.configure(
            '[network]\nallow_private = ["127.0.0.0/8"]\n'
            f'[search]\nprovider = "searxng"\nbase_url = "{engine.url()}"\n'
            '[permissions.rules]\ndeny = ["fetch(127.0.0.3)"]\n'
        )
        engine.answers["/search"] = response(
            b'{"results": [{"title": "It", "url": "%s"}]}' % good.url(host="127.0.0.2").encode()
        )
        turns = (
            '{ tool = "web_search", input = { query = "it" } }',
            fetch(evil.url(host="127.0.0.3")),
            fetch(good.url(host="127.0.0.2")),
            '{ text = "the answer" }',
        )
        chat = await asks(client, home, "", *turns)
        await chat.submit(NewPrompt(text="look", id="denied", on_ask="deny"))
        await chat.ended("denied")
        text, status = results(await chat.said())[0]
        assert status == "denied"
        assert "--allow 'agentic_fetch'" in text
        assert engine.heads == []

        chat = await asks(client, home, "", *turns)
        await chat.submit(NewPrompt(text="look", id="allowed", on_ask="deny", allow=("agentic_fetch",)))
        assert (await chat.ended("allowed")).outcome == "completed"
        assert results(await chat.said()) == [("the answer", "completed")]
        search, denied, found = results(await (await only_child(client, chat)).said())
        assert (search[1], found[1]) == ("completed", "completed"), (search, found)
        assert denied[1] == "denied"
        assert "`deny fetch(127.0.0.3)`" in denied[0]
        assert evil.heads == []


async def test_t4_c7_a_cancel_reaches_the_page_that_it_reads(home: Home) -> None:
    async with server({"/": silence}) as hanging, serving(home) as client:
        chat = await asks(client, home, f'url = "{hanging.url()}"', fetch(hanging.url()), mode="yolo")
        accepted = await chat.says("look")
        await hanging.until(lambda: bool(hanging.heads))
        await chat.stops()
        assert (await chat.ended(accepted)).outcome == "cancelled"
        await hanging.until(lambda: hanging.open == 0)
        child = await only_child(client, chat)
        assert not (await child.show()).busy
        last = (await child.said())[-1]
        assert not isinstance(last, AssistantMessage) or last.stop_reason == "cancelled"


async def test_without_an_engine_there_is_nothing_to_search_with(home: Home) -> None:
    async with serving(home) as client:
        chat = await asks(client, home, "", '{ text = "never" }', mode="yolo")
        assert (await chat.ended(await chat.says("look"))).outcome == "completed"
        assert "No search engine is configured" in said(await chat.said())[0]
        assert (await client.sessions(parent=chat.id)).items == ()
