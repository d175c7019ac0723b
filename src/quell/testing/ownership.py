"""What journals must do with regard to each other: checks for the journals of two processes on the same facts.

@pytest.mark.parametrize("check", OWNERSHIP, ids=name)
async def test_ownership(check):
    await check(Nodes(first, second, first_seems_dead))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from quell.core import inputs as i
from quell.core.evolve import fold
from quell.core.ports import Journal
from quell.core.session import summary
from quell.testing.journals import Author, claimed, draft, stale, stale_owner


@dataclass(frozen=True)
class Nodes:
    """The journals of two processes on the same facts. `first_seems_dead` is what lets the second claim while the first one lives."""

    first: Journal
    second: Journal
    first_seems_dead: Callable[[], None]


NodesCheck = Callable[[Nodes], Awaitable[None]]


async def there_is_one_owner_while_it_lives(nodes: Nodes) -> None:
    claim = await claimed(nodes.first)
    assert await nodes.second.claim() is None
    await nodes.first.renew(claim.generation)
    assert (await claimed(nodes.first)).generation > claim.generation
    assert await nodes.second.claim() is None
    await nodes.first.close()
    await claimed(nodes.second)


async def a_former_owner_records_nothing_whatever_became_of_its_sign(nodes: Nodes) -> None:
    """I10: an owner that was paused, and wakes when another has claimed."""
    author = await Author(nodes.first).create()
    generation = (await claimed(nodes.first)).generation
    await author.prompt()
    nodes.first_seems_dead()
    claim = await claimed(nodes.second)
    assert claim.unfinished == ("s1",)
    before = (list(await nodes.second.read("s1")), await nodes.second.summary("s1"))
    await stale_owner(author.reply(generation=generation))
    await stale_owner(nodes.first.save_draft("s1", draft(author.message, "I"), generation))
    await stale_owner(nodes.first.delete("s1", generation))
    await stale_owner(nodes.first.renew(generation))
    fresh = Author(nodes.first, "s2")
    await stale_owner(fresh.write(i.Create(session="s2", workspace="/work"), generation=generation))
    assert (list(await nodes.second.read("s1")), await nodes.second.summary("s1")) == before
    assert await nodes.second.draft("s1") is None
    await author.write(i.Cancel())  # what is asked for anybody may append
    heir = Author(nodes.second)
    heir.session = author.session
    await heir.write(i.Unwound(run=heir.run), generation=claim.generation)
    assert await nodes.first.claim() is None


async def a_stale_append_of_a_former_owner_is_refused_as_that(nodes: Nodes) -> None:
    """Both are true of it: it must not decide again and again what it may not write."""
    author = await Author(nodes.first).create()
    generation = (await claimed(nodes.first)).generation
    await author.prompt()
    other = Author(nodes.second)
    other.session = author.session
    nodes.first_seems_dead()
    await claimed(nodes.second)
    await other.prompt()
    await stale_owner(author.reply(generation=generation))


async def of_two_processes_one_is_first_and_both_see_the_same(nodes: Nodes) -> None:
    first = await Author(nodes.first).create()
    second = Author(nodes.second)
    second.session, second.time = first.session, first.time
    await first.prompt("First.")
    await stale(second.prompt("Second."))
    second.session = fold(await nodes.second.read("s1"))
    await second.prompt("Second.")
    assert list(await nodes.first.read("s1")) == list(await nodes.second.read("s1"))
    assert await nodes.first.summary("s1") == summary(second.session)


async def the_version_tells_of_what_others_write(nodes: Nodes) -> None:
    author = await Author(nodes.first).create()
    first, second = await nodes.first.version(), await nodes.second.version()
    await author.prompt()
    await nodes.first.save_draft("s1", draft(author.message, "I"))
    assert await nodes.first.version() == first
    assert await nodes.second.version() != second
    second = await nodes.second.version()
    assert await nodes.second.version() == second
    await claimed(nodes.first)
    assert await nodes.second.version() != second


OWNERSHIP: tuple[NodesCheck, ...] = (
    there_is_one_owner_while_it_lives,
    a_former_owner_records_nothing_whatever_became_of_its_sign,
    a_stale_append_of_a_former_owner_is_refused_as_that,
    of_two_processes_one_is_first_and_both_see_the_same,
    the_version_tells_of_what_others_write,
)
