"""The folder that a session works in: its files, and the processes started there.

`local` implements the port `Workspace` on this machine's disk, with `process` and `supervisor` for commands, `walk` and `search`
for finding, and `ignore` for what both leave out. What a model may do with a workspace is the business of `tools`.
"""

from quell.workspace.local import LocalWorkspace

__all__ = ["LocalWorkspace"]
