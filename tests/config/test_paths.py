"""Where our files are, and which folders are trusted."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from quell.config.paths import SOCKET_BYTES, PathRefused, paths, secure_folder

ACCOUNT = os.path.normpath(pwd.getpwuid(os.getuid()).pw_dir)
UID = os.getuid()


def test_defaults() -> None:
    found = paths({"HOME": ACCOUNT, "XDG_RUNTIME_DIR": "/run/user/7"})
    assert found.config_file == f"{ACCOUNT}/.config/quell/config.toml"
    assert found.config_dir == f"{ACCOUNT}/.config/quell"
    assert found.data_dir == f"{ACCOUNT}/.local/share/quell"
    assert found.database == f"{found.data_dir}/quell.db"
    assert found.log == f"{found.data_dir}/logs/daemon.log"
    assert found.token == f"{found.data_dir}/token"
    assert found.socket == "/run/user/7/quell/daemon.sock"


def test_xdg_and_our_own_variables() -> None:
    xdg = paths({"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d"})
    assert (xdg.config_file, xdg.data_dir) == ("/c/quell/config.toml", "/d/quell")
    ours = paths({"HOME": "/h", "XDG_CONFIG_HOME": "/c", "QUELL_CONFIG": "/x/my.toml", "QUELL_DATA_DIR": "/y/data/"})
    assert (ours.config_file, ours.config_dir, ours.data_dir) == ("/x/my.toml", "/x", "/y/data")


def test_without_a_runtime_folder_the_socket_is_in_tmp() -> None:
    assert paths({"HOME": ACCOUNT}).socket == f"/tmp/quell-{UID}/daemon.sock"


@pytest.mark.parametrize(
    "environ",
    [
        {"HOME": ACCOUNT, "QUELL_DATA_DIR": "/other"},
        {"HOME": ACCOUNT, "XDG_DATA_HOME": "/other"},
        {"HOME": "/borrowed/home"},
    ],
)
def test_another_data_folder_never_meets_the_users_daemon(environ: dict[str, str]) -> None:
    name = os.path.basename(paths({**environ, "XDG_RUNTIME_DIR": "/run/user/7"}).socket)
    assert name.startswith("daemon-")
    assert len(name) == len("daemon-0123456789ab.sock")
    assert name == os.path.basename(paths(environ).socket)


def test_different_data_folders_have_different_sockets() -> None:
    assert paths({"HOME": "/h", "QUELL_DATA_DIR": "/a"}).socket != paths({"HOME": "/h", "QUELL_DATA_DIR": "/b"}).socket


@pytest.mark.parametrize("length", range(60, 110))
def test_the_socket_path_always_fits(length: int) -> None:
    for letter in ("x", "ü"):
        socket = paths({"HOME": "/h", "XDG_RUNTIME_DIR": "/" + letter * length}).socket
        assert len(os.fsencode(socket)) < SOCKET_BYTES


def test_relative_xdg_folders_are_ignored_and_relative_ones_of_ours_refused() -> None:
    found = paths({"HOME": "/h", "XDG_CONFIG_HOME": "conf", "XDG_DATA_HOME": "data", "XDG_RUNTIME_DIR": "run"})
    assert found.config_dir == "/h/.config/quell"
    assert found.data_dir == "/h/.local/share/quell"
    assert found.socket.startswith(f"/tmp/quell-{UID}/")
    for name in ("QUELL_CONFIG", "QUELL_DATA_DIR"):
        with pytest.raises(PathRefused, match=f"\\${name} is 'x', a relative path"):
            paths({"HOME": "/h", name: "x"})


def test_without_home_the_account_knows() -> None:
    assert paths({}).data_dir == f"{ACCOUNT}/.local/share/quell"


def test_paths_are_immutable() -> None:
    found = paths({"HOME": "/h"})
    with pytest.raises(AttributeError, match="immutable"):
        found.socket = "/x"
    with pytest.raises(AttributeError, match="immutable"):
        del found.socket
    assert "daemon-" in repr(found)


def test_importing_it_costs_nothing_but_os() -> None:
    code = "import sys; before = set(sys.modules); import quell.config.paths; print(*(set(sys.modules) - before))"
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    allowed = {"quell", "quell.config", "quell.config.paths", "os", "stat", "_stat", "posixpath", "genericpath"}
    assert set(ran.stdout.split()) <= allowed | {"_collections_abc", "os.path", "abc", "_abc", "__future__"}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_made_for_us_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    secure_folder(str(folder))
    assert mode(folder) == 0o700
    secure_folder(str(folder))


def test_a_readable_folder_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o755)
    secure_folder(str(folder))
    assert mode(folder) == 0o700


def test_a_folder_that_others_could_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o770)
    with pytest.raises(PathRefused, match=r"can be written by others \(mode 770\).*chmod 700"):
        secure_folder(str(folder))
    assert mode(folder) == 0o770


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PathRefused, match=r"cannot use the folder .*file: Not a directory"):
        secure_folder(str(tmp_path / "file"))
    with pytest.raises(PathRefused, match=r"cannot use the folder"):
        secure_folder(str(tmp_path / "file" / "below"))


def test_a_link_of_ours_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    secure_folder(str(tmp_path / "link"))


@pytest.mark.skipif(UID != 0, reason="only root can give files away")
def test_what_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    os.chown(tmp_path / "real", 12345, -1)
    with pytest.raises(PathRefused, match="belongs to user 12345"):
        secure_folder(str(tmp_path / "real"))
    (tmp_path / "ours").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    os.lchown(tmp_path / "link", 12345, -1)
    with pytest.raises(PathRefused, match="belongs to user 12345"):
        secure_folder(str(tmp_path / "link"))
