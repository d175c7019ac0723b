"""Which kind of file system a path is on. SQLite's write-ahead log needs one that a single machine has to itself.

Read from the kernel's list of mounts, so it is known on Linux only; elsewhere nothing is known, and nothing is refused.
"""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

NETWORK = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
)
CLUSTER = frozenset({"gfs2", "ocfs2", "orangefs"})
VIRTUAL = frozenset({"9p", "vboxsf", "vmhgfs"})

SHARED = NETWORK | CLUSTER | VIRTUAL
"""File systems that other machines may write to, or that do not share memory between processes reliably."""

LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.encfs", "fuse.ntfs-3g", "fuse.cryfs"})
"""File systems in user space that are of this machine; of the others (sshfs, s3fs, rclone …) the worst is assumed."""


def file_system(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the file system that holds an absolute path with links resolved; None when it cannot be told."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    found: str | None = None
    longest = -1
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = Path(_unescape(fields[4]))
        # A later line hides an earlier one at the same place.
        if path.is_relative_to(point) and len(point.parts) >= longest:
            found, longest = right.split(" ")[0], len(point.parts)
    return found


def is_shared(type: str | None) -> bool:
    if type is None:
        return False
    return type in SHARED or (type.startswith("fuse.") and type not in LOCAL_FUSE)


def _unescape(text: str) -> str:
    """Space, tab, line break and backslash are written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
