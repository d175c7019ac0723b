"""Secrets do not come through, however they arrive."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from quell.core.messages import Image, ToolResult
from quell.core.redaction import FRAGMENT, HIDDEN, Redactor

SECRET = "sk-live-0123456789abcdefghij-XYZ"
OTHER = "pass-word"

texts = st.text(st.sampled_from("abk-s0123\n "), max_size=30)
secrets = st.text(st.sampled_from("abk-s0123"), min_size=8, max_size=30)


def streamed(redactor: Redactor, pieces: list[str]) -> str:
    shown: list[str] = []
    stream = redactor.stream(shown.append)
    for piece in pieces:
        stream.feed(piece)
    stream.close()
    return "".join(shown)


def leaks(secret: str, shown: str) -> bool:
    size = min(FRAGMENT, len(secret))
    return any(secret[at : at + size] in part for part in shown.split(HIDDEN) for at in range(len(secret) - size + 1))


@given(texts, secrets, texts)
def test_nothing_of_a_secret_is_shown(before: str, secret: str, after: str) -> None:
    assert not leaks(secret, Redactor([secret]).text(before + secret + after))


@given(st.lists(texts, max_size=4), secrets, st.integers(1, 29))
@example(["a"], SECRET, 3)
def test_nothing_of_a_secret_is_streamed_in_any_pieces(around: list[str], secret: str, size: int) -> None:
    text = secret.join(["", *around, ""])
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    redactor = Redactor([secret])
    assert not leaks(secret, streamed(redactor, pieces))


@given(st.lists(texts, max_size=4))
def test_what_is_no_secret_arrives_as_it_was(pieces: list[str]) -> None:
    assert streamed(Redactor([SECRET]), pieces) == "".join(pieces)
    assert Redactor().text("".join(pieces)) == "".join(pieces)


def test_text_does_not_wait_for_what_cannot_be_a_secret() -> None:
    shown: list[str] = []
    stream = Redactor([SECRET]).stream(shown.append)
    stream.feed("compiling sk-li")
    assert shown == ["compiling "]
    stream.feed("brary")
    assert "".join(shown) == "compiling sk-library"


def test_a_cut_secret_is_hidden() -> None:
    redactor = Redactor([SECRET, OTHER])
    assert redactor.text(f"a {SECRET[:20]} … {SECRET[-14:]} b") == f"a {HIDDEN} … {HIDDEN} b"
    assert redactor.text(f"{SECRET}{OTHER}") == HIDDEN
    assert redactor.text("sk-live- is how they begin; pass-words") == f"sk-live- is how they begin; {HIDDEN}s"


def test_results_are_hidden_with_what_screens_show_of_them() -> None:
    image = Image(name=f"{SECRET}.png", media_type="image/png", sha256="0" * 64, size=1)
    metadata = {"diff": [f"+{SECRET}", 3], "exit": 0, "in": {"x": SECRET}}
    result = ToolResult(text=f"-{SECRET}-", metadata=metadata, images=(image,))
    assert Redactor([SECRET]).result(result) == ToolResult(
        text=f"-{HIDDEN}-",
        metadata={"diff": [f"+{HIDDEN}", 3], "exit": 0, "in": {"x": HIDDEN}},
        images=(replace(image, name=f"{HIDDEN}.png"),),
    )
