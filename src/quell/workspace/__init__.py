"""The folder that a session works in: its files, the processes started there, and how its files were before a run.

`local` implements the port `Workspace` on this machine's disk, with `files` for reading and replacing, `process` and `supervisor` for
commands, `sandboxing` for the sandbox around them, `walk` and `search` for finding, and `ignore` for what both leave out;
`confined` is a workspace with nothing outside of it. `checkpoints` implements `Checkpoints`, with `snapshot`, `blobs` and `restore`;
`programs` implements `Programs`. What a model may do with a workspace is the business of `tools`.
"""

from quell.workspace.local import LocalWorkspace

__all__ = ["LocalWorkspace"]
