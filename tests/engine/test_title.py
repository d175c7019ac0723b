"""What a session is called: a model is asked, and nothing waits for it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.messages import Reply, Text, Usage
from quell.engine import Options
from quell.engine.title import clean
from quell.store.memory import MemoryJournal
from quell.testing.harness import Asked, Play, crashed, played

TITLES = Options(titles=True)


async def asked_for_both(play: Play) -> tuple[Asked, Asked]:
    """The turn, and the title."""
    both = [await play.asked(), await play.asked()]
    both.sort(key=lambda asked: asked.request.purpose, reverse=True)
    turn, title = both
    assert (turn.request.purpose, title.request.purpose) == ("turn", "title")
    return turn, title


def titles(facts: list[f.AnyFact]) -> list[f.AnyFact]:
    return [fact for fact in facts if isinstance(fact, f.TitleRequested | f.TitleGiven)]


async def test_a_title_comes_beside_the_run_and_is_paid_for() -> None:
    async with played(options=TITLES) as play:
        session = await play.session()
        await play.submit(session, "mend the parser\nand more")
        turn, title = await asked_for_both(play)
        assert (await play.engine.state(session)).title == "mend the parser"
        turn.reply(cost=Decimal("0.5"))
        assert (await play.settled(session)).outcome == "completed"
        assert [message.text for message in title.request.messages if hasattr(message, "text")] == [
            "mend the parser\nand more"
        ]
        title.say("<think>hm</think>\n**Repair of the parser.**")
        title.reply(usage=Usage(input=7), cost=Decimal("0.25"))
        state = await play.until(session, lambda state: state.titling is None)
        assert (state.title, state.cost, state.usage.input) == ("Repair of the parser", Decimal("0.75"), 7)
        _, view = await play.engine.view(session)
        assert (view.title, view.cost) == (state.title, state.cost)
        await play.submit(session, "and now the lexer")
        (await play.asked()).reply()
        await play.idle(session)
        assert play.nothing_asked
        assert len(titles(await play.facts(session))) == 2


async def test_the_small_model_is_asked_and_then_the_one_that_works() -> None:
    async with played(options=TITLES) as play:
        session = await play.session(small_model="played/small")
        await play.submit(session, "hello")
        turn, title = await asked_for_both(play)
        title.fail("overloaded")
        again = await play.asked()
        assert again.request.purpose == "title"
        again.fail("overloaded")
        assert (await play.until(session, lambda state: state.titling is None)).title == "hello"
        turn.reply()
        assert (await play.settled(session)).outcome == "completed"


@pytest.mark.parametrize("chosen", ["Mine", "hello"])
async def test_a_title_of_ones_own_is_never_overwritten(chosen: str) -> None:
    """Not even one that is what the session is called already."""
    async with played(options=TITLES) as play:
        session = await play.session()
        await play.submit(session, "hello")
        turn, title = await asked_for_both(play)
        await play.engine.apply(session, i.Change(title=chosen))
        await title.closed.wait()
        turn.reply()
        await play.idle(session)
        late = i.TitleFound(prompt=next(iter((await play.engine.state(session)).prompts)), attempt=1, title="Theirs")
        play.engine._actors.get(session).post(late)
        await play.engine.apply(session, i.Change(mode="ask"))  # decided after what was posted before
        assert (await play.engine.state(session)).title == chosen
        named = await play.session(title="Named")
        await play.submit(named, "hello")
        (await play.asked()).reply()
        await play.idle(named)
        assert titles(await play.facts(named)) == []


async def test_after_a_crash_it_is_asked_for_once_more() -> None:
    journal = MemoryJournal()
    async with crashed(journal, TITLES) as play:
        session = await play.session()
        await play.submit(session, "hello")
        turn, _ = await asked_for_both(play)
        turn.reply()
        await play.idle(session)
    async with crashed(journal, TITLES) as play:
        assert play.nothing_asked  # K4: an idle session is not woken for its title
        await play.engine.state(session)
        assert (await play.asked()).request.purpose == "title"
    async with played(journal, TITLES) as play:
        state = await play.until(session, lambda state: state.titling is None)
        assert state.title == "hello"
        assert play.nothing_asked
        assert titles(await play.facts(session)) == [
            f.TitleRequested(prompt="p2"),
            f.TitleRequested(prompt="p2", attempt=2),
            f.TitleGiven(),
        ]


async def test_nothing_is_asked_where_titles_are_off() -> None:
    async with played() as play:
        session = await play.session()
        await play.submit(session, "hello")
        (await play.asked()).reply()
        await play.idle(session)
        assert play.nothing_asked
        assert titles(await play.facts(session)) == []


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Repair of the parser", "Repair of the parser"),
        ('Title: "Repair"\nI hope that helps.', "Repair"),
        ("<think>for ever", None),
        ("<thinking>no</thinking>", None),
        (" \n\n", None),
        ("x" * 100, "x" * 59 + "…"),
    ],
)
def test_what_models_put_around_a_title_is_left_out(said: str, title: str | None) -> None:
    assert clean(Reply(parts=(Text(said),))) == title
