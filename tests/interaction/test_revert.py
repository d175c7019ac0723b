"""Going back (contract.md K8), with the real server, real files and a scripted model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from quell.core.errors import NotFound
from quell.core.messages import UserMessage
from quell.core.view import NoticeItem, UserItem
from tests.cli.command import Home
from tests.interaction.audit import audit
from tests.interaction.conversation import Chat
from tests.interaction.serving import Server

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


async def said(chat: Chat) -> list[str]:
    return [message.text for message in await chat.said() if isinstance(message, UserMessage)]


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
        assert await said(chat) == ["say"]
        view = (await chat.view()).view
        assert [item.text for item in view.items if isinstance(item, UserItem)] == ["say"]
        assert [item.kind for item in view.items if isinstance(item, NoticeItem)] == ["reverted"]

        back = await client.unrevert(chat.id)
        assert back.done
        assert contents(top) == after
        assert await said(chat) == ["say", "write", "rework"]
        with pytest.raises(NotFound, match="nothing to undo"):
            await client.unrevert(chat.id)
        audit(await chat.records())
