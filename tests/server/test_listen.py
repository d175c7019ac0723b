"""The unix socket: ours alone, stale ones replaced, live ones respected."""

import os
import select
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from quell.core.errors import StorageRefused
from quell.server.listen import AddressInUse, unix_socket


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "private" / "s")


def test_it_is_ours_alone(path: str) -> None:
    with unix_socket(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert not os.path.exists(path)


def test_a_stale_one_is_replaced(path: str) -> None:
    os.mkdir(os.path.dirname(path), 0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with unix_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_live_one_is_respected_and_named(path: str) -> None:
    with unix_socket(path), pytest.raises(AddressInUse, match=str(os.getpid())), unix_socket(path):
        pass


def test_a_live_one_that_is_not_ours_is_respected(path: str) -> None:
    os.mkdir(os.path.dirname(path), 0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(AddressInUse, match="Something else"), unix_socket(path):
            pass
    assert os.path.exists(path)


def test_a_server_that_is_leaving_is_waited_for(path: str) -> None:
    script = (
        "import sys\nfrom quell.server.listen import unix_socket\n"
        "with unix_socket(sys.argv[1]) as listening:\n    listening.close()\n    print(flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as leaving:
        assert leaving.stdin is not None
        assert leaving.stdout is not None
        assert leaving.stdout.readline() == b"\n"
        with pytest.raises(AddressInUse, match=str(leaving.pid)), unix_socket(path, wait=0.0):
            pass
        leaving.stdin.close()
        with unix_socket(path, wait=30.0):
            assert leaving.wait(30) == 0


def test_killing_the_server_frees_it(path: str) -> None:
    script = (
        "import sys\nfrom quell.server.listen import unix_socket\n"
        "with unix_socket(sys.argv[1]):\n    print(flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        select.select([server.stdout], [], [])
        server.kill()
        server.wait()
        with unix_socket(path, wait=0.0):
            pass


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_folder_that_others_can_enter_is_refused(path: str, mode: int) -> None:
    os.mkdir(os.path.dirname(path))
    os.chmod(os.path.dirname(path), mode)
    with pytest.raises(StorageRefused, match="chmod 700"), unix_socket(path):
        pass


def test_a_folder_that_is_a_link_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    os.symlink(tmp_path / "elsewhere", os.path.dirname(path))
    with pytest.raises(StorageRefused), unix_socket(path):
        pass


def test_a_path_that_is_too_long_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="too long"), unix_socket(str(tmp_path / "private" / ("x" * 120))):
        pass


def test_what_is_no_socket_is_not_removed(path: str) -> None:
    os.mkdir(os.path.dirname(path), 0o700)
    Path(path).write_text("precious")
    with pytest.raises(StorageRefused, match="that is no socket"), unix_socket(path):
        pass
    assert Path(path).read_text() == "precious"
