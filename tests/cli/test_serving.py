"""The way of a server from its first line to its first answer: everybody waits for what is imported and made on it."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.cli.command import Home

PROGRAM = """
import gc, json, os, signal, sys, threading
from quell.__main__ import main

def look() -> None:
    assert os.read(reading, 2) == b"\\n"
    print(json.dumps([gc.isenabled(), gc.get_freeze_count(), loaded]), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

def freeze(freeze=gc.freeze) -> None:
    loaded.extend(sys.modules)  # later the rest is being loaded in a thread
    freeze()

loaded = []
gc.freeze = freeze

reading, writing = os.pipe()
threading.Thread(target=look).start()
sys.argv = ["quell", "serve", "--ready-fd", str(writing)]
sys.exit(main())
"""
"""A server as a command starts it, which says what it is like in the moment when it is ready, and leaves."""

NOT_NEEDED = {
    "click",  # it is no person who asks
    "multiprocessing",  # of what we do not use of uvicorn
    "uvicorn.main",
    "uvicorn.config",
    "uvicorn.server",
    "logging.config",
    "logging.handlers",
    "email.utils",
    "dataclasses",  # our values are Structs, which are made sooner
    "importlib.resources",  # our files are files
    "tempfile",
    "quell.hooks",  # who has configured none
    "quell.lsp",
    "quell.config.languages",
    "quell.workspace.programs",
    "quell.tools.table",  # what a first session pays for
    "quell.tools.view",
    "quell.workspace",
    "quell.tools.reach",  # what a first command of a model, or a first page, pays for
    "quell.tools.shell",
    "tree_sitter",
    "quell.tools.html",
    "html",
    "quell.web.exchange",
    "httpx2",  # what a first model pays for
    "pydantic",
    "openai",
    "anthropic",
    "psycopg",  # what a database pays for
    "quell.store.postgres",
}


def test_a_server_that_is_ready_has_imported_what_it_needs_and_keeps_the_collector_away_from_it(own_home: Home) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM], env=own_home.environment, capture_output=True, text=True, check=True
    )
    collecting, kept, modules = json.loads(done.stdout)
    assert "quell.app" in modules
    assert not NOT_NEEDED & set(modules)
    assert collecting
    assert kept > 40_000


def test_a_database_without_what_it_takes_to_use_one(own_home: Home) -> None:
    (own_home.root / "psycopg.py").write_text("raise ImportError('it is not there')\n")
    environment = {"PYTHONPATH": str(own_home.root), "QUELL_DATABASE": "postgresql://me:s3cret@db/quell"}
    done = own_home.quell("serve", environment=environment)
    assert done.status != 0
    assert "pip install 'quell[postgres]'" in done.err
    assert "s3cret" not in done.err
