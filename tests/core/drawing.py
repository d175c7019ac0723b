"""Pictures made by hand, byte by byte: whole files of each kind, of a given size."""

from __future__ import annotations

import struct
import zlib


def png(width: int = 2, height: int = 1, filling: bytes = b"") -> bytes:
    rows = filling or b"".join(b"\0" + b"\xff\0\0" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 0 if filling else 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def jpeg(width: int = 2, height: int = 1) -> bytes:
    """With a smaller picture in its description, as cameras put there."""

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"
    scan = segment(0xDA, b"\1\1\0\0\x3f\0") + b"\x12\xff\0\x34"
    return (
        b"\xff\xd8" + segment(0xE1, b"Exif\0\0\xff\xd8\xff\xd9") + b"\xff" + segment(0xC0, frame) + scan + b"\xff\xd9"
    )


def gif(width: int = 2, height: int = 1) -> bytes:
    head = b"GIF89a" + struct.pack("<HHB", width, height, 0x80) + b"\0\0" + b"\0\0\0\xff\xff\xff"
    comment = b"\x21\xfe\x02hi\0"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0"
    return head + comment + frame + b"\x3b"


def webp(width: int = 2, height: int = 1) -> bytes:
    """Lossless; only its head is true."""
    bits = struct.pack("<I", (width - 1) | (height - 1) << 14)
    body = b"WEBPVP8L" + struct.pack("<I", 10) + b"\x2f" + bits + b"\0" * 5
    return b"RIFF" + struct.pack("<I", len(body)) + body
