"""A daemon in a process of its own: the real server, engine and SQLite journal.

    python -m tests.server.daemon_process FOLDER [--idle-exit=SECONDS] [--patient]

A patient one gives up on nothing: what it waits for when it leaves holds it up for ever. Its model says one word to whatever it is asked; to a
prompt that begins with `quick` that is all, any other reply never ends. What another one has left goes on before it begins to serve. It prints
one line when it answers, with the port where it also listens on TCP.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from quell.core.messages import UserMessage
from quell.engine import Options as Engine
from quell.server.daemon import Listener, Options, serve
from quell.server.listen import tcp_socket, unix_socket
from quell.store.sqlite import SqliteJournal
from quell.testing.harness import Play, played
from tests.server.serving import PlayedChoices

TOKEN = "t" * 43
USUAL = (Engine().stop_grace, Options(version="").engine_grace, Options(version="").request_grace)


async def talk(play: Play, begun: asyncio.Event) -> None:
    while True:
        asked = await play.asked()
        begun.set()
        asked.say("word")
        last = asked.request.messages[-1]
        if isinstance(last, UserMessage) and last.text.startswith("quick"):
            asked.reply()


async def main(folder: Path, idle_exit: float | None, graces: tuple[float, float, float]) -> None:
    stop, engine, request = graces
    with unix_socket(str(folder / "s")) as listening:
        journal = SqliteJournal.open(folder / "quell.db")
        async with played(journal, Engine(stop_grace=stop)) as play, asyncio.TaskGroup() as group:
            talking = group.create_task(talk(play, begun := asyncio.Event()))
            if await journal.busy():
                await begun.wait()
            options = Options(version="1.2.3", idle_exit=idle_exit, engine_grace=engine, request_grace=int(request))
            tcp = tcp_socket("127.0.0.1", 0)
            ready = f"ready {tcp.getsockname()[1]}"
            listeners = [Listener(listening), Listener(tcp, TOKEN)]
            await serve(play.engine, PlayedChoices(), listeners, options, lambda: print(ready, flush=True))
            talking.cancel()
        await journal.close()


if __name__ == "__main__":
    folder, *flags = sys.argv[1:]
    given = dict(flag.partition("=")[::2] for flag in flags)
    idle_exit = float(given["--idle-exit"]) if "--idle-exit" in given else None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(folder), idle_exit, (3600.0,) * 3 if "--patient" in given else USUAL))
