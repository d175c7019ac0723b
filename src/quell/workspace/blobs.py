"""Where the content of workspaces is kept: one SQLite file for each workspace, which all processes of a user may share.

    contents    of files, by their SHA-256
    trees       of folders, by theirs: names and items, so that what did not change is there once
    snapshots   of sessions: a tree for each folder of theirs, and single files
    touched     what files were before a session's tools first wrote them
    known       when a folder was last looked at, and what was found: a cache

One SQLite file and not one file a content: ten thousand small files are written six times as fast, in one transaction.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from quell.core.checkpoints import CheckpointRefused
from quell.workspace.walk import Stop

_BUSY = 30.0
"""Seconds that another snapshot of the same workspace may take."""
_TRY = 0.1
"""Seconds between two looks at whether it is still wanted."""

_SCHEMA = """
create table if not exists contents (digest blob primary key, content blob not null);
create table if not exists trees (digest blob primary key, tree blob not null) without rowid;
create table if not exists snapshots (session text, name text, snapshot blob not null, primary key (session, name)) without rowid;
create table if not exists touched (session text, path blob, item blob not null, primary key (session, path)) without rowid;
create table if not exists known (path blob primary key, folder blob not null) without rowid;
"""

Kind = Literal["file", "link", "folder", "large", "unknown", "other"]
"""`large` files are told apart, but their content is not kept; of an `unknown` name nothing is known: it is ignored, or unreadable."""


class Item(Struct, frozen=True, array_like=True):
    """What is behind a name. `content` is the digest of a file or of a folder's tree, the target of a link, the marks of a large file."""

    kind: Kind
    mode: int = 0
    content: bytes = b""


UNKNOWN = Item("unknown")

Tree = dict[bytes, Item]
"""Names and what is behind them."""


class Snapshot(Struct, frozen=True, array_like=True):
    """`trees` are of folders, `single` of files, both by absolute path; None: there is nothing."""

    trees: dict[bytes, bytes] = {}
    single: dict[bytes, Item | None] = {}


_encode = msgspec.msgpack.Encoder().encode
_tree = msgspec.msgpack.Decoder(Tree)
_snapshot = msgspec.msgpack.Decoder(Snapshot)
_item = msgspec.msgpack.Decoder(Item | None)


class Blobs:
    """An open file. Everything happens in one transaction, which ends with the context."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def content(self, digest: bytes) -> bytes | None:
        row = self._database.execute("select content from contents where digest = ?", (digest,)).fetchone()
        return None if row is None else bytes(row[0])

    def add_content(self, content: bytes) -> bytes:
        digest = hashlib.sha256(content).digest()
        self._database.execute("insert or ignore into contents values (?, ?)", (digest, content))
        return digest

    def tree(self, digest: bytes) -> Tree:
        row = self._database.execute("select tree from trees where digest = ?", (digest,)).fetchone()
        return {} if row is None else _tree.decode(row[0])

    def add_tree(self, tree: Mapping[bytes, Item]) -> bytes:
        encoded = _encode(dict(sorted(tree.items())))
        digest = hashlib.sha256(encoded).digest()
        self._database.execute("insert or ignore into trees values (?, ?)", (digest, encoded))
        return digest

    def snapshot(self, session: str, name: str) -> Snapshot | None:
        row = self._database.execute(
            "select snapshot from snapshots where session = ? and name = ?", (session, name)
        ).fetchone()
        return None if row is None else _snapshot.decode(row[0])

    def add_snapshot(self, session: str, snapshot: Snapshot) -> str:
        encoded = _encode(Snapshot(dict(sorted(snapshot.trees.items())), dict(sorted(snapshot.single.items()))))
        name = hashlib.sha256(encoded).hexdigest()[:32]
        self._database.execute("insert or ignore into snapshots values (?, ?, ?)", (session, name, encoded))
        return name

    def touched(self, session: str) -> dict[bytes, Item | None]:
        rows = self._database.execute("select path, item from touched where session = ?", (session,))
        return {bytes(path): _item.decode(item) for path, item in rows}

    def touch(self, session: str, path: bytes, item: Item | None) -> None:
        self._database.execute("insert or ignore into touched values (?, ?, ?)", (session, path, _encode(item)))

    def known(self) -> dict[bytes, bytes]:
        return {bytes(path): bytes(folder) for path, folder in self._database.execute("select path, folder from known")}

    def know(self, folders: Mapping[bytes, bytes], gone: Iterator[bytes]) -> None:
        self._database.executemany("insert or replace into known values (?, ?)", folders.items())
        self._database.executemany("delete from known where path = ?", ((path,) for path in gone))

    def forget(self, session: str) -> None:
        """Drop what only this session needs."""
        self._database.execute("delete from touched where session = ?", (session,))
        self._database.execute("delete from snapshots where session = ?", (session,))
        self._sweep()

    def _sweep(self) -> None:
        trees, contents = set[bytes](), set[bytes]()
        waiting: list[bytes] = []
        for (encoded,) in self._database.execute("select snapshot from snapshots").fetchall():
            snapshot = _snapshot.decode(encoded)
            waiting.extend(snapshot.trees.values())
            contents.update(item.content for item in snapshot.single.values() if item is not None)
        for (encoded,) in self._database.execute("select item from touched"):
            item = _item.decode(encoded)
            contents.update(() if item is None else (item.content,))
        while waiting:
            digest = waiting.pop()
            if digest not in trees:
                trees.add(digest)
                items = self.tree(digest).values()
                waiting.extend(item.content for item in items if item.kind == "folder")
                contents.update(item.content for item in items if item.kind == "file")
        self._database.execute("create temp table needed (digest blob primary key) without rowid")
        self._database.executemany(
            "insert or ignore into needed values (?)", ((digest,) for digest in trees | contents)
        )
        self._database.execute("delete from contents where digest not in (select digest from needed)")
        self._database.execute("delete from trees where digest not in (select digest from needed)")
        self._database.execute("delete from known")  # it may name what has gone
        self._database.execute("drop table needed")


def compact(path: Path) -> None:
    """Give the disk back what has become free, if that is most of it."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=_TRY)) as database:
        free, pages = (database.execute(f"pragma {name}").fetchone()[0] for name in ("freelist_count", "page_count"))
        if free > pages // 2:
            database.execute("vacuum")
            database.execute("pragma wal_checkpoint(truncate)")


@contextmanager
def open_blobs(path: Path, stop: Stop) -> Iterator[Blobs]:
    """One transaction on the file. Raises `sqlite3.Error`, `OSError`, and `CheckpointRefused` when it was stopped before its turn."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=_TRY)) as database:
        _begin(database, stop)
        try:
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            yield Blobs(database)
        except BaseException:
            database.execute("rollback")
            raise
        database.execute("commit")


def _begin(database: sqlite3.Connection, stop: Stop) -> None:
    deadline = time.monotonic() + _BUSY
    while True:
        try:
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = full")
            database.execute("begin immediate")
        except sqlite3.OperationalError as error:
            if (
                error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                or time.monotonic() > deadline
            ):
                raise
            if stop.reason is not None:
                raise CheckpointRefused("it was stopped") from None
        else:
            return
