"""What the user asks: the arguments, standard input before them, and the attached files.

Everything is checked here, before a server is started or a session made: text is UTF-8, attachments are text or images.
"""

from __future__ import annotations

import binascii
import os
import select
import stat
import sys

from quell.cli.failure import wrong_usage

LARGEST = 48 << 20
"""Bytes of prompt and attachments together: the server's limit of 64 MiB, less what base64 adds."""
STDIN_PATIENCE = 3.0

_IMAGES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


def compose(words: tuple[str, ...], *, notice: bool) -> str:
    """The prompt: standard input, when it is a pipe or a file, a blank line, the arguments. `notice`: say what is waited for."""
    given = argument_text(" ".join(words))
    piped = _standard_input(notice=notice and bool(given))
    return "\n\n".join(part for part in (piped.strip("\n"), given) if part.strip())


def argument_text(text: str) -> str:
    """An argument as text; what the shell passed as bytes that are no UTF-8 is refused."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise wrong_usage(
            "the arguments are not valid UTF-8 text. Put what is to be asked in a UTF-8 file and pass that: quell run < FILE"
        ) from None
    return text


def attachments(files: tuple[str, ...]) -> list[dict[str, str]]:
    """The files of `--file`, as the API takes them."""
    found, total = [], 0
    for path in files:
        content = _read_file(path)
        total += len(content)
        if total > LARGEST:
            raise wrong_usage(
                f"the attachments are larger than {LARGEST >> 20} MiB together, with {path}. Name the files in the prompt instead"
            )
        found.append(_attachment(path, content))
    return found


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise wrong_usage(
                    f"cannot attach {path}: it is not a regular file. What a command prints goes to standard input"
                )
            return file.read(LARGEST + 1)
    except IsADirectoryError:
        raise wrong_usage(
            f"cannot attach {path}: it is a folder. Attach single files, or name the folder in the prompt"
        ) from None
    except OSError as error:
        raise wrong_usage(f"cannot attach {path}: {error.strerror}") from None


def _at_once(path: str, flags: int) -> int:
    """Without waiting for somebody who writes to it, if it is a named pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _attachment(path: str, content: bytes) -> dict[str, str]:
    kind = next((kind for magic, kind in _IMAGES if content.startswith(magic)), None)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kind = "image/webp"
    name = path.encode("utf-8", "replace").decode()
    if kind is not None:
        encoded = binascii.b2a_base64(content, newline=False).decode()
        return {"name": name, "content": encoded, "mime_type": kind, "encoding": "base64"}
    text = _text(content)
    if isinstance(text, int):
        raise wrong_usage(
            f"cannot attach {path}: it is neither UTF-8 text (byte {text + 1}) nor a PNG, JPEG, GIF or WebP image."
            " Name it in the prompt instead"
        )
    return {"name": name, "content": text}


def _standard_input(*, notice: bool) -> str:
    try:
        mode = os.fstat(0).st_mode
    except OSError:  # closed
        return ""
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return ""
    if notice and not select.select([0], [], [], STDIN_PATIENCE)[0]:
        # Started with a pipe that nobody closes, a command would seem to hang: say what it waits for.
        sys.stderr.write("quell: waiting for the end of standard input; without any: quell run … < /dev/null\n")
    pieces, size = [], 0
    while piece := os.read(0, 1 << 16):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST:
            raise wrong_usage(
                f"standard input is larger than {LARGEST >> 20} MiB. Put it in a file and name that in the prompt"
            )
    text = _text(b"".join(pieces))
    if isinstance(text, int):
        raise wrong_usage(
            f"standard input is not UTF-8 text (byte {text + 1}). Name a file in the prompt instead, or attach an image with --file"
        )
    return text


def _text(content: bytes) -> str | int:
    """As text; or where it stops being any."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return error.start
    return content.index(b"\0") if "\0" in text else text
