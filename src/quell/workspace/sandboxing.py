"""The sandbox of a command: which places exist for it, and the words that have bubblewrap (`bwrap`) make it so.

Rules: `confined` looks at the disk and says of places what a command may do there; `words` turns that into options, from the root down, so
that of nested places the inner one holds. Every place is given with links resolved, as bubblewrap wants it. What an own folder of the agent
is, the caller says (`Sandbox.hidden`); what holds secrets, and what other programs would run, is said here and in `core.access`.

The sandbox does not die with its first process: the supervisor outside sees every process in it, ends them with its usual grace, and with
the last of them its namespaces go.
"""

from __future__ import annotations

import errno
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

from msgspec import Struct

from quell.core.access import MARKED_FILES, MARKED_FOLDERS
from quell.core.ports import Sandbox
from quell.workspace.repository import GitFolders, git_folders

State = Literal["read", "write", "empty", "hidden", "link", "proc", "dev"]


class Spot(Struct, frozen=True):
    """`empty` can be written, and is gone with the command; `hidden` is empty for good. `source`: what is seen there, if not itself."""

    state: State
    source: str = ""


_ISOLATED = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--disable-userns"),
    *("--cap-drop", "ALL", "--new-session"),
)
"""As root, too: without a user namespace of its own, uid 0 may do without capabilities what others may not with them."""

_PROBE_SECONDS = 10.0
_MODULES = 200

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt")

_HIDDEN = (
    *("/root", "/lost+found", "/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers.d"),
    *("/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key", "/etc/krb5.keytab"),
    *(
        "/etc/NetworkManager/system-connections",
        "/etc/wireguard",
        "/etc/ssl/private",
        "/etc/kubernetes",
        "/etc/rancher",
    ),
    *("/var/lib/docker", "/var/lib/containerd", "/var/lib/lxd", "/var/lib/incus", "/var/snap/lxd/common"),
    *("/var/spool/cron", "/var/lib/systemd/credential.secret", "/var/lib/sss"),
)
"""Secrets of the machine, which root could read, and sockets whose servers do anything for anybody who reaches them."""

_KERNEL = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "driver", "mtrr")
"""Of /proc: settings of the whole machine. Their files belong to root, and to write them its uid is enough, without any capability."""

_SECRETS = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".oci", ".kube", ".docker", ".netrc", "_netrc", ".git-credentials", ".npmrc"),
    *(
        ".yarnrc.yml",
        ".pypirc",
        ".pgpass",
        ".my.cnf",
        ".mylogin.cnf",
        ".boto",
        ".s3cfg",
        ".vault-token",
        ".terraformrc",
    ),
    *(
        ".terraform.d",
        ".password-store",
        ".Xauthority",
        ".ICEauthority",
        ".cargo/credentials",
        ".cargo/credentials.toml",
    ),
    *(
        ".gem/credentials",
        ".bundle/config",
        ".m2/settings.xml",
        ".m2/settings-security.xml",
        ".gradle/gradle.properties",
    ),
    *(".composer/auth.json", ".nuget/NuGet/NuGet.Config", ".huggingface/token", ".databrickscfg", ".snowflake", ".fly"),
    *(".colima", ".lima", ".orbstack", ".rd", ".minikube", ".local/share/containers", ".local/share/docker"),
    *(".config/gcloud", ".config/gh", ".config/glab-cli", ".config/hub", ".config/git/credentials", ".config/op"),
    *(".config/rclone", ".config/doctl", ".config/helm", ".config/pip", ".config/containers", ".config/configstore"),
    *(".config/composer/auth.json", ".config/sops", ".config/age", ".config/Bitwarden", ".config/1Password"),
    *(".config/heroku", ".config/stripe", ".config/netlify", ".config/github-copilot", ".config/keepassxc"),
    *(
        ".config/google-chrome",
        ".config/chromium",
        ".config/BraveSoftware",
        ".config/microsoft-edge",
        ".config/vivaldi",
    ),
    *(".config/opera", ".config/Slack", ".config/discord", ".config/Signal", ".mozilla", ".librewolf", ".thunderbird"),
    *("snap", ".var/app", ".local/share/keyrings", ".local/share/kwalletd", ".local/share/fish", ".pki", ".claude"),
    *(".claude.json", ".codex", ".gemini", ".config/quell", ".local/share/quell", ".bash_history", ".zsh_history"),
    *(".zsh_sessions", ".history", ".sh_history", ".python_history", ".node_repl_history", ".psql_history"),
    *(".mysql_history", ".sqlite_history", ".rediscli_history", ".lesshst", ".viminfo", ".wget-hsts"),
)
"""Keys, tokens, cookies, and histories in which people have typed them, below a home."""


def _bubblewrap() -> str | None:
    import shutil

    return shutil.which("bwrap")


@cache
def unavailable() -> str:
    """Why there is no sandbox on this machine; empty where there is one. Found out by making one, once: it takes 20 ms."""
    if sys.platform != "linux":
        return "it needs Linux"
    program = _bubblewrap()
    if program is None:
        return "bubblewrap is not installed"
    base = {"/": Spot("read"), "/proc": Spot("proc"), "/dev": Spot("dev"), "/tmp": Spot("empty")}  # noqa: S108  # reason: the sandbox's own
    try:
        tried = subprocess.run(
            [*words(program, base, "/", network=False), "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not run: {error}"
    said = tried.stderr.decode(errors="replace").strip().splitlines()
    return "" if tried.returncode == 0 else f"bubblewrap fails: {said[-1] if said else tried.returncode}"


def confined(
    command: Sequence[str], directory: str, sandbox: Sandbox, folders: Sequence[str], home: str, kept: str
) -> list[str]:
    """The command's words, as run in the sandbox. `folders` are the workspace's; `kept` is where its session keeps what is to last.

    Raises `OSError` where there is no sandbox.
    """
    program = _bubblewrap()
    why = unavailable()
    if program is None or why:
        raise OSError(errno.ENOSYS, f"the sandbox that is configured is not available: {why or 'bubblewrap is gone'}")
    homes = [real for real in dict.fromkeys(_homes(home)) if real != "/"]
    return words(program, _spots(sandbox, folders, homes, kept), directory, sandbox.network) + list(command)


def words(program: str, spots: dict[str, Spot], directory: str, network: bool) -> list[str]:
    """Up to and with the `--`, after which the command comes."""
    made: list[str] = [program, *_ISOLATED, *(() if network else ("--unshare-net",))]
    closed: list[str] = []
    for path, spot in sorted(spots.items(), key=lambda item: (item[0] != "/", item[0].count("/"), item[0])):
        source = spot.source or path
        match spot.state:
            case "read":
                made += ("--ro-bind", source, path)
            case "write":
                made += ("--bind", source, path)
            case "empty":
                made += ("--perms", "1777", "--tmpfs", path)
            case "hidden" if os.path.isdir(path):
                made += ("--tmpfs", path)
                closed.append(path)  # at the end: what is inside of it has to be put there first
            case "hidden":
                made += ("--ro-bind", "/dev/null", path)
            case "link":
                made += ("--symlink", source, path)
            case "proc" | "dev":
                made += (f"--{spot.state}", path)
    if "/" not in spots:
        closed.append("/")
    for path in closed:
        made += ("--remount-ro", path)
    return [*made, "--chdir", directory, "--"]


def _homes(home: str) -> Iterator[str]:
    yield os.path.realpath(os.path.expanduser("~"))
    if os.path.isabs(home) and os.path.isdir(home):
        yield os.path.realpath(home)
    try:
        yield os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # a container's user without an entry
        return


def _spots(sandbox: Sandbox, folders: Sequence[str], homes: Sequence[str], kept: str) -> dict[str, Spot]:
    """Later ones overrule earlier ones of the same path."""
    strict = sandbox.mode == "strict"
    spots: dict[str, Spot] = dict(_system() if strict else {"/": Spot("read")})
    spots |= {"/proc": Spot("proc"), "/dev": Spot("dev")}
    spots |= {path: Spot("read") for name in _KERNEL if os.path.exists(path := f"/proc/{name}")}
    spots |= {path: Spot("empty") for path in ("/tmp", "/var/tmp", "/run", "/var/run") if strict or _folder(path)}  # noqa: S108  # reason: the sandbox's own
    spots |= _hidden(_HIDDEN)
    spots |= _resolver()
    if not strict:
        spots |= _hidden(("/home",))
        spots |= _hidden(("/home/linuxbrew",), Spot("read"))
    for home in homes:
        if strict:
            spots[home] = Spot("empty")
            continue
        if not os.path.isdir(home):  # a service's user has none
            continue
        spots[home] = Spot("read")
        spots |= _hidden(os.path.join(home, name) for name in _SECRETS)
        spots |= _hidden((os.path.join(home, ".cache"),), Spot("empty"))
    writes = Spot("read" if sandbox.mode == "read-only" else "write")
    for folder in (*folders, *(os.path.realpath(os.path.expanduser(each)) for each in sandbox.writable)):
        if os.path.isdir(folder):
            spots[folder] = writes
            spots |= _marked(folder, homes)
            spots |= _repository(git_folders(folder), folder, writes)
    spots |= _hidden(sandbox.hidden)
    if kept:
        spots |= _kept(kept)
    return spots


def _folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _hidden(paths: Sequence[str] | Iterator[str], spot: Spot = Spot("hidden")) -> dict[str, Spot]:
    """Of those that exist, where they really are."""
    return {os.path.realpath(path): spot for path in paths if os.path.exists(path)}


def _system() -> Iterator[tuple[str, Spot]]:
    for path in _SYSTEM:
        if os.path.islink(path):
            yield path, Spot("link", os.readlink(path))
        elif os.path.isdir(path):
            yield path, Spot("read")


def _resolver() -> dict[str, Spot]:
    """What says who knows the names of hosts is often kept in a folder that is hidden."""
    real = os.path.realpath("/etc/resolv.conf")
    return {real: Spot("read")} if real.startswith(("/run/", "/mnt/")) and os.path.exists(real) else {}


def _marked(folder: str, homes: Sequence[str]) -> dict[str, Spot]:
    """What other programs run, where it is: it can be read, but for secrets."""
    found = {
        name
        for name in os.listdir(folder)
        if name.casefold() in MARKED_FILES and not os.path.islink(f"{folder}/{name}")
    }
    paths = [os.path.join(folder, name) for name in sorted(found)]
    paths += [os.path.join(folder, *steps) for steps in MARKED_FOLDERS if steps != (".git",)]
    spots = {path: Spot("read") for path in paths if os.path.exists(path) and os.path.realpath(path) == path}
    if folder in homes:
        spots |= _hidden(os.path.join(folder, name) for name in _SECRETS)
    return spots


def _repository(git: GitFolders | None, folder: str, writes: Spot) -> dict[str, Spot]:
    """git can be worked with, but what it runs, and where it looks for that, cannot be changed.

    `.git` itself is a mount of its own: one that can be moved away could be replaced.
    """
    if git is None:
        return {}
    kept = Spot("read")
    spots = {git.entry: writes if git.own == git.entry else kept, git.common: writes, git.own: writes}
    fixed = [git.entry] if git.own != git.entry else []
    for place in {git.common, git.own, *_modules(os.path.join(git.common, "modules"))}:
        fixed += [os.path.join(place, name) for name in ("config", "config.worktree", "hooks", "commondir", "gitdir")]
    fixed.append(os.path.join(git.common, "worktrees"))
    if git.hooks.startswith(f"{folder}/"):  # elsewhere it cannot be written anyway
        fixed.append(git.hooks)
    if any(map(os.path.islink, fixed)):
        return {**spots, git.common: kept, git.own: kept}  # a link could be replaced
    spots |= {path: kept for path in fixed if os.path.exists(path)}
    hooks = os.path.join(git.common, "hooks")
    if writes.state == "write" and not os.path.exists(hooks) and os.path.isfile(os.path.join(git.common, "HEAD")):
        os.makedirs(hooks, exist_ok=True)  # only what is there can be kept as it is
        spots[hooks] = kept
    return spots


def _modules(folder: str) -> Iterator[str]:
    """The repositories of the submodules, which may be nested."""
    left = _MODULES
    for path, names, files in os.walk(folder):
        left -= 1
        if left < 0:
            return
        if "HEAD" in files:
            yield path
            names[:] = [name for name in names if name == "modules"]


def _kept(kept: str) -> dict[str, Spot]:
    """Its files can be read, and /tmp is a folder in it, so that a command finds there what the one before has put there."""
    tmp = os.path.join(kept, "tmp")
    try:
        os.makedirs(tmp, mode=0o700, exist_ok=True)
    except OSError:  # a full disk, say: an empty /tmp will do
        return {}
    return {kept: Spot("read"), "/tmp": Spot("write", tmp)}  # noqa: S108  # reason: the sandbox's own
