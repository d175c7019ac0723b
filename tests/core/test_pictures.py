"""Pictures are known by their bytes, and whole ones from those that are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quell.core.pictures import recognise
from tests.core.drawing import gif, jpeg, png, webp

kinds = pytest.mark.parametrize(
    ("kind", "draw"), [("PNG", png), ("JPEG", jpeg), ("GIF", gif), ("WebP", webp)], ids=lambda value: str(value)[:4]
)


@kinds
def test_what_is_cut_off_anywhere_is_no_whole_picture(kind: str, draw: Callable[[], bytes]) -> None:
    content = draw()
    whole = recognise(content)
    assert whole is not None
    assert (whole.kind, whole.size) == (kind, (2, 1))
    for end in range(len(content)):
        cut = recognise(content[:end])
        assert cut is None or cut.size is None, end


@given(st.sampled_from([png(), jpeg(), gif(), webp()]), st.data())
def test_no_bytes_are_too_strange(content: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(6, len(content)))
    recognise(content[:at] + data.draw(st.binary(max_size=40)) + content[at + 3 :])
