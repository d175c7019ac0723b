"""A process to be killed: goes on with the sessions of a journal, and tells what was acknowledged.

Each line is a session's id and its last `seq`, written when the append has returned.
"""

import asyncio
import os
import sys
from pathlib import Path

from quell.core import inputs as i
from quell.core.evolve import fold
from quell.core.messages import Reply, Text
from quell.core.ports import Draft
from quell.store.sqlite import SqliteJournal
from quell.testing.journals import Author

SESSIONS = 4


async def write(journal: SqliteJournal, id: str) -> None:
    """Until killed: titles, long prompts, drafts, replies, in decisions of one to three facts."""
    author = Author(journal, id)
    author.session = fold(await journal.read(id))
    if not author.session.id:
        await author.create()
    while True:
        seq = author.session.seq
        if author.session.run is not None:
            await journal.save_draft(id, Draft(author.message, Reply(parts=(Text("so far " * seq),))))
            await author.reply(f"reply at {seq}")
        elif seq % 7 == 0:
            await author.prompt("x" * 70_000)
        elif seq % 3 == 0:
            await author.write(i.Change(title=f"title at {seq}"))
        else:
            await author.prompt(f"prompt at {seq}")
        os.write(1, f"{id} {author.session.seq}\n".encode())


async def main(path: Path) -> None:
    journal = SqliteJournal.open(path)
    async with asyncio.TaskGroup() as tasks:
        for number in range(SESSIONS):
            tasks.create_task(write(journal, f"s{number}"))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
