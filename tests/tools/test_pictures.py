"""`view` of pictures: what is one, what is shown of it, and why not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from quell.core.images import image_path
from tests.core.drawing import gif, jpeg, png, webp
from tests.tools.conftest import Hands

kinds = pytest.mark.parametrize(
    ("kind", "draw"), [("PNG", png), ("JPEG", jpeg), ("GIF", gif), ("WebP", webp)], ids=lambda value: str(value)[:4]
)


@pytest.fixture
def seeing(hands: Hands, tmp_path: Path) -> Hands:
    hands.keep(tmp_path / "kept")
    hands.vision = True
    return hands


@kinds
async def test_a_picture_is_known_by_its_content_and_kept_under_its_hash(
    seeing: Hands, kind: str, draw: Callable[[int, int], bytes]
) -> None:
    content = draw(640, 480)
    path = seeing.write("picture.txt", content)
    result = await seeing.use("view", file_path="picture.txt")
    assert result.text == f"picture.txt: {kind} image, 640×480 pixels, {len(content):,} bytes."
    (image,) = result.images
    assert (image.name, image.media_type) == ("picture.txt", f"image/{kind.lower()}")
    assert (image.size, image.width, image.height) == (len(content), 640, 480)
    assert image.sha256 == hashlib.sha256(content).hexdigest()
    assert result.metadata == {
        "path": str(path),
        "image": f"image/{kind.lower()}",
        "width": 640,
        "height": 480,
        "bytes": len(content),
    }
    kept = Path(image_path(seeing.workspace.kept, image))
    path.write_bytes(b"another by now")
    assert kept.read_bytes() == content


async def test_a_broken_picture_is_not_shown(seeing: Hands) -> None:
    seeing.write("a.png", png()[:-1])
    seeing.write("b.png", png().replace(b"IDAT", b"IDAT"[:3] + b"t"))
    seeing.write("c.png", png(0, 0))
    for name in ("a.png", "b.png", "c.png"):
        result = await seeing.use("view", file_path=name)
        assert (result.status, result.images) == ("failed", ())
        assert f"{name} is a PNG image" in result.text
        assert "damaged" in result.text


@pytest.mark.parametrize("content", [png(filling=os.urandom(210_000)), png(8001, 1)], ids=["bytes", "pixels"])
async def test_a_large_picture_is_refused_with_the_limits(seeing: Hands, content: bytes) -> None:
    seeing.write("large.png", content)
    result = await seeing.use("view", file_path="large.png")
    assert result.status == "failed"
    assert f"large.png is a PNG image ({len(content):,} bytes)" in result.text
    assert "204,800 bytes" in result.text
    assert "8000 pixels" in result.text
    assert not (seeing.kept / "images").exists()


async def test_a_model_that_cannot_see_is_told_so(seeing: Hands) -> None:
    seeing.vision = False
    seeing.write("a.png", png())
    result = await seeing.use("view", file_path="a.png")
    assert (result.status, result.images) == ("failed", ())
    assert "a.png is a PNG image (" in result.text
    assert "not known to see images" in result.text
    assert "`vision = true`" in result.text


async def test_a_picture_viewed_twice_is_kept_once(seeing: Hands) -> None:
    seeing.write("a.png", png())
    seeing.write("b.png", png())
    first, second = [await seeing.use("view", file_path=name) for name in ("a.png", "b.png")]
    assert first.images[0].sha256 == second.images[0].sha256
    assert len(list((seeing.kept / "images").iterdir())) == 1


async def test_other_kinds_and_other_contents(seeing: Hands) -> None:
    seeing.write("a.bmp", b"BM\0\0\0\0")
    seeing.write("a.png", "not a picture\n")
    seeing.write("a.svg", "<svg/>\n")
    seeing.write("a.wav", b"RIFF\4\0\0\0WAVE")
    assert "Make a PNG copy" in (await seeing.use("view", file_path="a.bmp")).text
    assert "     1|not a picture" in (await seeing.use("view", file_path="a.png")).text
    assert "     1|<svg/>" in (await seeing.use("view", file_path="a.svg")).text
    assert "binary" in (await seeing.use("view", file_path="a.wav")).text
