"""The routes, through the typed client and the real socket."""

import asyncio
import base64
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from quell.client.client import Cancellation, NewAttachment, NewLimits, NewPrompt, NewSession, QueueEdit, SessionChange
from quell.core import errors
from quell.core.events import Deleted
from quell.core.facts import Limits
from quell.core.messages import AssistantMessage, UserMessage
from quell.core.session import Summary
from quell.wire.api import Providers, WorkspaceStatus
from tests.core.drawing import jpeg, png
from tests.server.serving import serving


async def test_health_names_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        health = await s.client.health()
        assert (health.version, health.busy, health.sessions) == ("1.2.3", False, 0)
        session = await s.session()
        await session.submit(NewPrompt(text="hello"))
        health = await s.client.health()
        assert (health.busy, health.sessions) == (True, 1)


async def test_a_session_is_created_shown_changed_and_deleted(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session(title="first")
        shown = await session.show()
        assert (shown.id, shown.workspace, shown.title, shown.model) == (session.id, "/work", "first", "played/model")
        changed = await session.change(SessionChange(title="second", mode="plan"))
        assert (changed.title, changed.mode, changed.model) == ("second", "plan", "played/model")
        await session.delete()
        with pytest.raises(errors.SessionNotFound):
            await session.show()


async def test_without_a_model_no_session_is_created(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        with pytest.raises(errors.NoModel):
            await s.client.create(NewSession(workspace="/work", model=""))
        assert (await s.client.sessions()).items == ()


async def test_sessions_are_listed_in_pages_newest_first(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        made = [(await s.session(title=f"number {n}")).id for n in range(5)]
        first = await s.client.sessions(limit=3)
        second = await s.client.sessions(limit=3, cursor=first.next)
        with pytest.raises(errors.InvalidRequest, match="cursor"):
            await s.client.sessions(cursor="somewhere")
        assert len(first.items) == 3
        assert second.next is None
        assert {row.id for row in (*first.items, *second.items)} == set(made)
        assert [row.title for row in (await s.client.sessions(search="number 4")).items] == ["number 4"]
        assert (await s.client.sessions(workspace="/elsewhere")).items == ()


async def test_a_prompt_is_accepted_waited_for_and_shown(tmp_path: Path) -> None:
    async with serving(tmp_path) as s, asyncio.TaskGroup() as group:
        session = await s.session()
        accepted = await session.submit(NewPrompt(text="hello"))
        assert (await session.prompt(accepted.prompt)).state == "running"
        waiting = group.create_task(session.prompt(accepted.prompt, wait=30))
        asked = await s.play.asked()
        asked.say("hi there")
        asked.reply()
        ended = await waiting
        assert (ended.state, ended.outcome, ended.text, ended.run) == ("settled", "completed", "hi there", accepted.run)
        page = await session.messages()
        assert [type(message) for message in page.items] == [UserMessage, AssistantMessage]
        assert (await session.messages(limit=1)).next == 1
        assert (await session.messages(after=1)).items == page.items[1:]
        assert "hi there" in await session.export_text("markdown")
        assert (await session.export()).messages == page.items


async def test_each_prompt_has_the_text_of_its_own_run(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        prompts = [(await session.submit(NewPrompt(text=text))).prompt for text in ("one", "two")]
        for text in ("eins", "zwei"):
            asked = await s.play.asked()
            asked.say(text)
            asked.reply()
        assert [(await session.prompt(prompt, wait=30)).text for prompt in prompts] == ["eins", "zwei"]


async def test_a3_the_same_prompt_again_is_the_same_prompt(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        first = await session.submit(NewPrompt(id="mine", text="hello"))
        assert await session.submit(NewPrompt(id="mine", text="hello")) == first
        with pytest.raises(errors.Conflict):
            await session.submit(NewPrompt(id="mine", text="something else"))


def attached(content: bytes) -> NewAttachment:
    encoded = base64.b64encode(content).decode()
    return NewAttachment(name="a.png", content=encoded, mime_type="image/png", encoding="base64")


async def test_what_a_prompt_brings_gets_to_the_machine(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        await session.submit(
            NewPrompt(
                text="look",
                attachments=(attached(png()),),
                limits=NewLimits(turns=3, cost="0.50", seconds=60),
                allow=("touch",),
                on_ask="deny",
            )
        )
        run = (await s.play.engine.state(session.id)).run
        assert run is not None
        assert run.entry.limits == Limits(turns=3, cost=Decimal("0.50"), seconds=60.0)
        assert (run.entry.allow, run.entry.on_ask) == (("touch",), "deny")
        assert run.entry.attachments[0].name == "a.png"


@pytest.mark.parametrize(
    "prompt",
    [
        NewPrompt(text="  "),
        NewPrompt(text="x", attachments=(NewAttachment(name="a", content="!", encoding="base64"),)),
        NewPrompt(text="x", attachments=(attached(png()[:-1]),)),
        NewPrompt(text="x", attachments=(attached(jpeg()),)),
        NewPrompt(text="x", attachments=(attached(b"hi"),)),
        NewPrompt(text="x", attachments=(attached(png(8001, 1)),)),
        NewPrompt(text="x", attachments=(attached(png(filling=bytes(6_000_000))),)),
        NewPrompt(text="x", limits=NewLimits(turns=0)),
        NewPrompt(text="x", limits=NewLimits(cost="NaN")),
        NewPrompt(text="x", id="a/b"),
        NewPrompt(text="x", id="line\n"),
    ],
    ids=[
        "empty",
        "base64",
        "damaged",
        "mislabelled",
        "no-image",
        "wide",
        "large",
        "turns",
        "money",
        "slash",
        "line-end",
    ],
)
async def test_a_prompt_that_cannot_be_meant_is_refused_and_nothing_is_written(
    tmp_path: Path, prompt: NewPrompt
) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        seq = (await session.show()).seq
        with pytest.raises(errors.InvalidRequest):
            await session.submit(prompt)
        assert (await session.show()).seq == seq


async def test_the_queue_is_shown_edited_moved_promoted_and_dropped(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        for name in ("running", "a", "b", "c"):
            await session.submit(NewPrompt(id=name, text=name))
        assert (await session.edit("a", QueueEdit(text="A"))).applied
        assert (await session.edit("c", QueueEdit(before="a"))).applied
        queue = await session.queue()
        assert [(item.id, item.text) for item in queue.items] == [("c", "c"), ("a", "A"), ("b", "b")]
        await session.edit("c", QueueEdit(before=None))
        await session.drop("b")
        await session.promote("c")
        assert [item.id for item in (await session.queue()).items] == ["c", "a"]
        with pytest.raises(errors.NotWaiting):
            await session.edit("running", QueueEdit(text="too late"))
        assert (await session.prompt("b")).state == "dropped"
        await session.drop_all()
        assert (await session.queue()).items == ()


async def test_an_edit_of_nothing_is_none_but_is_checked(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        for name in ("running", "a"):
            await session.submit(NewPrompt(id=name, text=name))
        assert not (await session.edit("a", QueueEdit())).applied
        with pytest.raises(errors.NotWaiting):
            await session.edit("nowhere", QueueEdit())


async def test_cancel_parks_and_resume_releases(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        first = await session.submit(NewPrompt(text="first"))
        await session.submit(NewPrompt(id="second", text="second"))
        covered = await session.cancel(Cancellation(scope="active"))
        assert covered.run == first.run
        assert (await session.prompt(first.prompt, wait=30)).outcome == "cancelled"
        assert (await session.queue()).parked
        assert (await session.resume()).applied
        assert not (await session.queue()).parked
        assert (await session.prompt("second")).state == "running"
        assert (await session.cancel()).prompts == ("second",)


async def test_c1_cancel_of_an_idle_session_covers_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        covered = await session.cancel()
        assert (covered.run, covered.prompts) == (None, ())


async def test_a_permission_request_is_shown_and_answered_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        accepted = await session.submit(NewPrompt(text="touch it"))
        asked = await s.play.asked()
        asked.call(outside=True)
        asked.reply()
        assert (await session.prompt(accepted.prompt, wait=30)).state == "running"  # it awaits a person
        (request,) = (await session.requests()).items
        assert (request.tool, (await session.show()).awaiting) == ("touch", 1)
        with pytest.raises(errors.NotFound):
            await session.answer("nothing", "allow_once")
        assert (await session.answer(request.id, "allow_once")).applied
        assert not (await session.answer(request.id, "allow_once")).applied
        with pytest.raises(errors.Stale):
            await session.answer(request.id, "reject_once")
        (await s.play.touched()).finish()
        assert (await session.requests()).items == ()


async def test_the_view_is_shown_by_its_tail_and_backwards(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        for n in range(3):
            accepted = await session.submit(NewPrompt(text=f"question {n}"))
            asked = await s.play.asked()
            asked.say(f"answer {n}")
            asked.reply()
            await session.prompt(accepted.prompt, wait=30)
        whole = await session.view()
        assert (len(whole.view.items), whole.more, whole.seq) == (6, None, (await session.show()).seq)
        last = await session.view(tail=4)
        assert (last.view.items, last.more) == (whole.view.items[2:], 2)
        before = await session.view(tail=4, before=last.more)
        assert (before.view.items, before.more) == (whole.view.items[:2], None)


async def test_compaction_is_a_run(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        accepted = await session.compact()
        assert accepted.run is not None


async def test_models_are_listed(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        (model,) = await s.client.models()
        assert (model.spec, model.configured, model.default) == ("played/model", True, True)


async def test_providers_are_listed(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        (provider,) = await s.client.providers(have=("A", "B"))
        assert (provider.name, provider.origin, provider.configured) == ("played", "own", True)
        with pytest.raises(errors.InvalidRequest):
            await s.client.ask("GET", "/v1/providers?has=A", Providers)


async def test_the_configuration_of_a_folder_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        status = await s.client.ask("GET", "/v1/workspaces/status?workspace=/work", WorkspaceStatus)
        assert status == WorkspaceStatus(workspace="/work", model="played/model", mode="edits")
        for query in ("", "?workspace=", "?workspace=here", "?workspace=/a&workspace=/b"):
            with pytest.raises(errors.InvalidRequest):
                await s.client.ask("GET", f"/v1/workspaces/status{query}", WorkspaceStatus)


async def test_the_sessions_are_watched(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session(title="there before")
        async with s.client.watch() as changes:
            before = await anext(changes)
            await session.change(SessionChange(title="changed"))
            after = await anext(changes)
            assert isinstance(before, Summary)
            assert isinstance(after, Summary)
            assert (before.title, after.title) == ("there before", "changed")
            await session.delete()
            assert [change async for change in _upto_deletion(changes)][-1] == Deleted(session.id)


async def _upto_deletion(changes: AsyncIterator[Summary | Deleted]) -> AsyncIterator[Summary | Deleted]:
    async for change in changes:
        yield change
        if isinstance(change, Deleted):
            return
