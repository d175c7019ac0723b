"""What the disk can do to a journal. Each time: a clear text, nothing lost, and work goes on when it has passed."""

import fcntl
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.errors import StorageRefused
from quell.core.evolve import fold
from quell.core.messages import Reply, Text
from quell.core.ports import Draft
from quell.core.session import Session, summary
from quell.store.database import APPLICATION_ID, check_file_system, connect_writer
from quell.store.mounts import file_system, is_shared
from quell.store.orders import Append, Line
from quell.store.sqlite import SqliteJournal, SqliteOptions
from quell.store.thread import Order
from quell.store.writing import Write, Writer
from quell.testing.journals import Author, moment
from quell.wire.facts import encode

IMPATIENT = SqliteOptions(patience=0.01)

OPEN = """
import sys
from pathlib import Path
from quell.core.errors import StorageRefused
from quell.store.sqlite import SqliteJournal
try:
    SqliteJournal.open(Path(sys.argv[1]))
    print("opened")
except StorageRefused as refusal:
    print(refusal)
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refused(path: Path, *words: str) -> None:
    """Opening is refused, in these words, and the file is what it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StorageRefused) as refusal:
        SqliteJournal.open(path, IMPATIENT)
    for word in (*words, str(path)):
        assert word in str(refusal.value)
    assert (path.read_bytes() if path.is_file() else None) == before


async def written(path: Path, prompts: int = 50) -> None:
    """A journal with one session."""
    journal = SqliteJournal.open(path)
    author = await Author(journal).create()
    for _ in range(prompts):
        await author.prompt("x" * 500)
    await journal.close()


# Opening


async def test_a_new_journal_is_for_its_owner_s_eyes_only(tmp_path: Path) -> None:
    path = tmp_path / "quell?#%41 ü" / "journal.db"
    old = os.umask(0)
    try:
        journal = SqliteJournal.open(path)
        await Author(journal).create()
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(old)
    await journal.close()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert modes == dict.fromkeys(["journal.db", "journal.db-wal", "journal.db-shm", "journal.db.lock"], 0o600)
    assert sorted(file.name for file in path.parent.iterdir()) == ["journal.db", "journal.db.lock"]


def test_a_file_that_is_no_database_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"Dear diary, " * 1000)
    refused(path, "no database", "Move it away")


def test_another_program_s_database_is_kept_and_so_is_its_log(tmp_path: Path) -> None:
    path, log = tmp_path / "journal.db", tmp_path / "journal.db-wal"
    with closing(sqlite3.connect(tmp_path / "theirs")) as theirs:
        theirs.execute("PRAGMA journal_mode=WAL")
        theirs.execute("CREATE TABLE recipes (text)")
        for file in (path, log):  # as they are after a crash
            shutil.copy(tmp_path / file.name.replace("journal.db", "theirs"), file)
    before = log.read_bytes()
    assert before
    refused(path, "another program's database")
    assert log.read_bytes() == before


async def test_a_newer_schema_is_refused_by_version(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
        connection.execute("PRAGMA journal_mode=DELETE")
    refused(path, "newer quell", "99", "Update quell")


async def test_a_damaged_file_is_kept_and_said_to_be_damaged(tmp_path: Path) -> None:
    """One page is damaged, so it opens; what cannot be read is refused, and the rest is there."""
    path = tmp_path / "journal.db"
    await written(path)
    journal = SqliteJournal.open(path)
    author = await Author(journal, "s2").create()
    for number in range(50):
        await author.prompt(f"{'y' * 500} number {number}.")
    await journal.close()
    content = path.read_bytes()
    page = content.index(b"number 40.") // 4096 * 4096
    damaged = content[:page] + b"\xa5" * 4096 + content[page + 4096 :]
    path.write_bytes(damaged)
    journal = SqliteJournal.open(path)
    with pytest.raises(StorageRefused, match=r"damaged .*left as it was"):
        await journal.read("s2")
    assert len(await journal.read("s1")) == 52
    await journal.close()
    assert path.read_bytes() == damaged


async def test_facts_that_were_removed_are_missed(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM facts WHERE seq = 7")
        connection.execute("UPDATE sessions SET summary = '{}'")
        connection.commit()
    journal = SqliteJournal.open(path)
    with pytest.raises(StorageRefused, match="Fact 7 of session s1 is missing"):
        await journal.read("s1")
    assert len(await journal.read("s1", after=7)) == 45
    with pytest.raises(StorageRefused, match="damaged"):
        await journal.summary("s1")
    await journal.close()


def test_no_file_can_be_made_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused(tmp_path / "file" / "journal.db", "cannot be opened", "choose another data directory")
    (tmp_path / "journal.db").mkdir()
    refused(tmp_path / "journal.db", "no regular file")


@pytest.mark.skipif(
    shutil.which("setpriv") is None, reason="root may write everywhere, and there is no way not to be root"
)
async def test_a_file_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path)
    path.chmod(0o444)
    as_anybody = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    answer = run(*as_anybody, sys.executable, "-c", OPEN, str(path)).stdout
    assert f"The journal {path} cannot be opened (Permission denied" in answer
    assert "Give the user that runs quell the right to write there" in answer


# Owning


async def test_a_second_owner_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    """I10. In the same process, too; and the first one's locks survive the attempt."""
    path = tmp_path / "journal.db"
    journal = SqliteJournal.open(path)
    author = await Author(journal).create()
    with pytest.raises(StorageRefused, match=rf"in use by another quell \(process {os.getpid()}\)"):
        SqliteJournal.open(path)
    assert f"process {os.getpid()}" in run(sys.executable, "-c", OPEN, str(path)).stdout
    await author.prompt()
    await journal.close()
    assert run(sys.executable, "-c", OPEN, str(path)).stdout == "opened\n"


async def test_i10_k1_the_lock_of_an_owner_killed_while_it_starts_a_command_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10, K1. What is about to become the command holds the lock for a moment longer: the next owner waits for it.

    Fails when a lock that is held is refused at once.
    """
    path = tmp_path / "journal.db"
    held = os.open(tmp_path / "journal.db.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    left: list[float] = []

    def command_begins(pause: float) -> None:
        os.close(held)
        left.append(pause)

    monkeypatch.setattr("quell.store.database.time.sleep", command_begins)
    journal = SqliteJournal.open(path)
    await journal.close()
    assert len(left) == 1


def test_a_refused_opening_gives_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"no database at all, but long enough to look at" * 100)
    refused(path)
    path.unlink()
    assert run(sys.executable, "-c", OPEN, str(path)).stdout == "opened\n"


# Where


MOUNTS = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:25 / /home rw - nfs4 server:/home rw
31 30 0:26 / /home/ann/local\040disk rw - xfs /dev/sdb1 rw
32 22 0:27 / /mnt/far rw - fuse.sshfs ann@far: rw
33 22 0:28 / /mnt/near rw - fuse.fuse-overlayfs overlay rw
34 22 0:29 / /mnt/stick rw - fuseblk /dev/sdc1 rw
35 22 0:30 / /mnt/c rw - 9p C: rw
36 22 0:31 / /mnt/over rw - cifs //server/share rw
37 36 0:32 / /mnt/over rw - tmpfs tmpfs rw
broken line
"""


@pytest.mark.parametrize(
    ("folder", "kind", "shared"),
    [
        ("/var/lib/quell", "ext4", False),
        ("/home/ann/.local/share/quell", "nfs4", True),
        ("/home/ann/local disk/quell", "xfs", False),
        ("/homework", "ext4", False),
        ("/mnt/far/quell", "fuse.sshfs", True),
        ("/mnt/near", "fuse.fuse-overlayfs", False),
        ("/mnt/stick/quell", "fuseblk", False),
        ("/mnt/c/Users/ann", "9p", True),
        ("/mnt/over", "tmpfs", False),
    ],
)
def test_network_file_systems_are_told_from_local_ones(tmp_path: Path, folder: str, kind: str, shared: bool) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert file_system(Path(folder), mounts) == kind
    assert is_shared(kind) is shared
    assert file_system(Path(folder), tmp_path / "none") is None


def test_a_network_file_system_is_refused_unless_allowed() -> None:
    path = Path("/home/ann/journal.db")
    with pytest.raises(StorageRefused, match=r"/home/ann/journal\.db.*\(nfs4\).*local disk"):
        check_file_system(path, "nfs4", SqliteOptions())
    check_file_system(path, "nfs4", SqliteOptions(allow_shared=True))
    check_file_system(path, None, SqliteOptions())


# Writing (K5)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond that: the nearest thing to a full disk that needs no rights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_an_append_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    """And one that fits is written, in the same batch or after it."""
    journal = SqliteJournal.open(tmp_path / "journal.db")
    author = await Author(journal).create()
    row = await journal.summary("s1")
    with largest_file((tmp_path / "journal.db-wal").stat().st_size + 300_000):
        with pytest.raises(StorageRefused, match=r"cannot be written, because .* Check the disk"):
            await author.prompt("x" * 1_000_000)
        with pytest.raises(StorageRefused):
            await author.prompt("x" * 1_000_000)
        assert await journal.summary("s1") == row
        assert len(await journal.read("s1")) == 1
        await author.prompt("this one fits")
    await author.prompt("x" * 1_000_000)
    await author.reply()
    await journal.close()
    journal = SqliteJournal.open(tmp_path / "journal.db")
    assert [recorded.seq for recorded in await journal.read("s1")] == list(range(1, author.session.seq + 1))
    await journal.close()


async def test_a_full_disk_is_called_by_its_name(tmp_path: Path) -> None:
    """On a real file system of one megabyte, where one may be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    if run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)).returncode != 0:
        pytest.skip("nothing may be mounted here")
    try:
        journal = SqliteJournal.open(folder / "journal.db")
        author = await Author(journal).create()
        ballast = folder / "ballast"
        ballast.write_bytes(b"x" * (1 << 19))
        with pytest.raises(StorageRefused, match=r"the disk is full .*Free some space"):
            await author.prompt("x" * (1 << 19))
        with pytest.raises(StorageRefused, match="the disk is full"):
            await journal.save_draft("s1", Draft("r3-1-1", Reply(parts=(Text("x" * (1 << 19)),))))
        assert len(await journal.read("s1")) == 1
        ballast.unlink()
        await author.prompt("there is room again")
        await journal.close()
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(b"x" * (2 << 20))
        with pytest.raises(StorageRefused, match=r"cannot be opened, because the disk is full"):
            SqliteJournal.open(folder / "journal.db")
    finally:
        run("umount", "--lazy", str(folder))


async def test_one_that_does_not_fit_refuses_nobody_else_in_its_batch(tmp_path: Path) -> None:
    """Straight to the writer, so that it is one batch. What is refused is not half written either."""
    path = tmp_path / "journal.db"
    await written(path, 0)
    connection = connect_writer(path, SqliteOptions())
    writer = Writer(path, connection, partial(connect_writer, path, SqliteOptions()))
    writes = [creation("a", "fits"), creation("b", "x" * 1_000_000), creation("c", "fits too")]
    orders: list[Order[Write]] = [Order(write) for write in writes]
    with largest_file(path.with_name("journal.db-wal").stat().st_size + 300_000):
        writer.work(orders)
    Order.deliver(orders)
    outcomes = [await settled(order) for order in orders]
    assert [type(outcome) for outcome in outcomes] == [type(None), StorageRefused, type(None)]
    writer.close()
    journal = SqliteJournal.open(path)
    assert sorted(row.id for row in await journal.summaries()) == ["a", "c", "s1"]
    await journal.close()


def creation(id: str, title: str) -> Write:
    decision = decide(Session(), i.Create(session=id, workspace="/work", title=title), moment(0))
    lines = tuple(Line(recorded.seq, None, encode(recorded)) for recorded in decision.records)
    return Append(id, 0, lines, summary(decision.session))


async def settled(order: Order[Write]) -> object:
    try:
        return await order.outcome()
    except StorageRefused as refusal:
        return refusal


async def test_an_append_that_contradicts_the_tables_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO facts (session, seq, body) SELECT key, 5, x'7b7d' FROM sessions")
        connection.commit()
    journal = SqliteJournal.open(path)
    author = Author(journal)
    author.session = fold(await journal.read("s1", limit=3))
    row = await journal.summary("s1")
    with pytest.raises(StorageRefused, match=r"contradict.*Restore it from a copy"):
        await author.reply()
    assert await journal.summary("s1") == row
    with pytest.raises(StorageRefused, match="Fact 4 of session s1 is missing"):
        await journal.read("s1")
    await journal.close()


async def test_a_lock_of_another_program_refuses_until_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = SqliteJournal.open(path, IMPATIENT)
    author = await Author(journal).create()
    with closing(sqlite3.connect(path, isolation_level=None)) as browser:
        browser.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageRefused, match=r"another process has locked it .*End the program"):
            await author.prompt()
        with pytest.raises(StorageRefused, match="locked"):
            await journal.delete("s1")
        assert len(await journal.read("s1")) == 1
        browser.execute("ROLLBACK")
    await author.prompt()
    assert len(await journal.read("s1")) == 3
    await journal.close()


async def test_a_journal_that_was_moved_away_acknowledges_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = SqliteJournal.open(path)
    author = await Author(journal).create()
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(StorageRefused, match="moved, replaced or deleted"):
        await author.prompt()
    path.write_bytes(b"")
    with pytest.raises(StorageRefused, match="moved, replaced or deleted"):
        await author.prompt()
    (tmp_path / "elsewhere").rename(path)
    await author.prompt()
    await journal.close()


async def test_a_write_that_cannot_be_expressed_is_its_caller_s_alone(tmp_path: Path) -> None:
    journal = SqliteJournal.open(tmp_path / "journal.db")
    with pytest.raises(UnicodeEncodeError):
        await journal.save_draft("\ud800", Draft("r3-1-1", Reply()))
    with pytest.raises(UnicodeEncodeError):
        await journal.delete("\ud800")
    with pytest.raises(UnicodeEncodeError):
        await journal.read("\ud800")
    await Author(journal).create(title="goes on", at=0)
    await journal.close()


async def test_a_fact_of_a_newer_quell_refuses_its_session_only(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, 1)
    line = f'{{"seq":4,"at":"{moment(0)}","kind":"time_travelled","v":1}}'.encode()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        connection.execute("INSERT INTO facts (session, seq, body) SELECT key, 4, ? FROM sessions", (line,))
        connection.commit()
    journal = SqliteJournal.open(path)
    with pytest.raises(StorageRefused, match="newer quell"):
        await journal.read("s1")
    author = await Author(journal, "s2").create()
    await author.write(i.Change(title="not concerned"))
    await journal.close()
