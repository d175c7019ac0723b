"""Going back (contract K8), with the real server, real files and a scripted model."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from quell.core.errors import Busy, Edited, NotFound, Unavailable
from quell.core.view import NoticeItem, UserItem
from tests.cli.command import Home, until
from tests.interaction.audit import audit
from tests.interaction.conversation import Chat
from tests.interaction.process import Server

SCRIPT = r"""
[[when]]
prompt = "say"
[[when.reply]]
step = [{ text = "Said." }]

[[when]]
prompt = "write"
[[when.reply]]
step = [{ tool = "write", input = { file_path = "made.txt", content = "made\n" } }]
[[when.reply]]
step = [{ tool = "write", input = { file_path = "ignored/own.txt", content = "made\n" } }]
[[when.reply]]
step = [{ text = "Written." }]

[[when]]
prompt = "rework"
[[when.reply]]
step = [{ tool = "bash", input = { command = '''
rm gone.txt; mv moved.txt there.txt; printf 'a\0b' > binary; mkdir -p new/deep; echo x > new/deep/file
ln -sfn there.txt link; chmod +x tool; rmdir empty; echo mine > ignored/cache; cp tool ignored/left; mkdir bare
''' } }]
[[when.reply]]
step = [{ text = "Reworked." }]

[[when]]
prompt = "all of them"
[[when.reply]]
step = [{ tool = "bash", input = { command = 'for name in many*; do echo changed > $name; done' } }]
[[when.reply]]
step = [{ text = "Changed." }]

[[when]]
prompt = "for ever"
[[when.reply]]
step = [{ endless = "and on… ", interval = 0.02 }]
"""


def contents(top: Path) -> dict[str, object]:
    """Everything below a folder: contents and modes, targets of links."""
    found: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = None
        else:
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    home = Home()
    top = home.workspace
    for name in ("gone.txt", "moved.txt", "tool", "mine.txt"):
        (top / name).write_text(f"{name}\n", encoding="utf-8")
    (top / "link").symlink_to("gone.txt")
    (top / "empty").mkdir()
    (top / ".gitignore").write_text("ignored/\n", encoding="utf-8")
    (top / "ignored").mkdir()
    (top / "ignored" / "cache").write_text("cached\n", encoding="utf-8")
    yield Server(home, SCRIPT)
    home.close()


async def does(chat: Chat, prompt: str) -> str:
    id = (await chat.says(prompt)).prompt
    assert (await chat.ended(id)).outcome == "completed"
    return id


async def test_k8_files_and_conversation_go_back_to_before_a_message_and_forth_again(server: Server) -> None:
    top = server.home.workspace
    async with server.life() as (client, _):
        chat = await server.chat(client)
        await does(chat, "say")
        before = contents(top)
        written = await does(chat, "write")
        between = contents(top)
        await does(chat, "rework")
        after = contents(top)
        assert before != between != after

        preview = await client.revert(chat.id, written, dry_run=True)
        assert not preview.done
        assert contents(top) == after
        changes = {change.path: change.change for change in preview.files}
        assert changes == {
            "bare/": "delete",
            "binary": "delete",
            "empty/": "create",
            "gone.txt": "create",
            "ignored/cache": "modify",
            "ignored/own.txt": "delete",
            "link": "modify",
            "made.txt": "delete",
            "moved.txt": "create",
            "new/deep/file": "delete",
            "there.txt": "delete",
            "tool": "modify",
        }
        done = await client.revert(chat.id, written)
        assert (done.done, done.text, done.left, done.problem) == (True, "write", (), None)
        assert contents(top) == before | {"ignored/left": after["ignored/left"]}  # ignored, and no tool had named it
        assert await chat.asked_prompts() == ["say"]
        view = (await chat.view()).view
        assert [item.text for item in view.items if isinstance(item, UserItem)] == ["say"]
        assert [item.kind for item in view.items if isinstance(item, NoticeItem)] == ["reverted"]

        back = await client.unrevert(chat.id)
        assert back.done
        assert contents(top) == after
        assert await chat.asked_prompts() == ["say", "write", "rework"]
        with pytest.raises(NotFound, match="nothing to undo"):
            await client.unrevert(chat.id)
        audit(await chat.records())


async def test_k8_what_somebody_has_edited_is_named_in_the_refusal(server: Server) -> None:
    top = server.home.workspace
    async with server.life() as (client, _):
        chat = await server.chat(client)
        prompt = await does(chat, "write")
        (top / "made.txt").write_text("mine", encoding="utf-8")
        (top / "mine.txt").write_text("mine", encoding="utf-8")  # no run has changed it
        before = contents(top)
        with pytest.raises(Edited, match=r"made\.txt"):
            await client.revert(chat.id, prompt)
        assert contents(top) == before
        assert await chat.asked_prompts() == ["write"]
        forced = await client.revert(chat.id, prompt, force=True)
        assert {change.path: change.edited for change in forced.files} == {"made.txt": True, "ignored/own.txt": False}
        assert not (top / "made.txt").exists()
        assert (top / "mine.txt").read_text("utf-8") == "mine"
        await client.unrevert(chat.id)
        assert contents(top) == before


async def test_k8_a_revert_while_busy_is_refused_and_so_is_what_is_no_message(server: Server) -> None:
    async with server.life() as (client, _):
        chat = await server.chat(client)
        first = await does(chat, "say")
        await chat.says("for ever")
        with pytest.raises(Busy):
            await client.revert(chat.id, first)
        await chat.stops()
        await chat.rests()
        with pytest.raises(NotFound):
            await client.revert(chat.id, "another")
        assert (await client.revert(chat.id, first)).done
        audit(await chat.records())


async def test_k8_k1_kill_9_in_the_middle_of_a_revert_is_gone_on_from(server: Server) -> None:
    """Whatever files it has come to by then."""
    top = server.home.workspace
    for n in range(400):
        (top / f"many{n}").write_text(f"{n}\n", encoding="utf-8")
    async with server.life() as (client, process):
        chat = await server.chat(client)
        prompt = (await chat.says("all of them")).prompt
        await chat.ended(prompt)
        assert (top / "many7").read_text("utf-8") == "changed\n"

        async def kill() -> None:
            async with chat.follow() as following:
                while following.view.reverting is None and not following.view.reverted:
                    await anext(following)
                process.kill()

        async with asyncio.TaskGroup() as group:
            killing = group.create_task(kill())
            with contextlib.suppress(Unavailable):
                await client.revert(chat.id, prompt)
            await killing
        await process.wait()
    async with server.life() as (client, _):
        chat = Chat(client, chat.id)
        await chat.rests()
        assert await chat.asked_prompts() == []
        assert {(top / f"many{n}").read_text("utf-8") == f"{n}\n" for n in range(400)} == {True}
        assert not list(top.glob(".quell-*.tmp"))
        await client.unrevert(chat.id)
        assert (top / "many7").read_text("utf-8") == "changed\n"
        audit(await chat.records())


async def test_k7_what_was_kept_goes_with_the_session(server: Server) -> None:
    secret = os.urandom(50_000)
    (server.home.workspace / "secret").write_bytes(secret)
    async with server.life() as (client, _):
        chat = await server.chat(client)
        await does(chat, "write")
        (kept,) = (server.home.data / "checkpoints").glob("*.sqlite")
        size = kept.stat().st_size
        assert size > 50_000
        await chat.delete()
        await asyncio.to_thread(until, lambda: kept.stat().st_size < 50_000)
