"""What is sent of a transcript."""

from __future__ import annotations

from quell.core import facts as f
from quell.core.messages import AssistantMessage, Reasoning, Reply, Text, UserMessage
from quell.core.transcript import Transcript

AT = "2026-01-01T00:00:00.000Z"


def _turn(transcript: Transcript, id: str) -> None:
    reply = Reply(parts=(Reasoning("Nobody signed this."), Text("Done.")))
    facts: tuple[f.AnyFact, ...] = (
        f.PromptAccepted(prompt=id, text="go on", digest=""),
        f.RunStarted(run=id, entry=id, entry_kind="prompt"),
        f.Replied(run=id, turn=1, attempt=1, message=f"{id}-1-1", reply=reply),
    )
    for fact in facts:
        transcript.add(f.Recorded(len(transcript.messages) + 1, AT, fact))


def test_what_was_sent_before_is_the_same_object_again() -> None:
    """Also where something was left out. Models know by it what they have translated already."""
    transcript = Transcript()
    _turn(transcript, "one")
    user, assistant = transcript.to_send()
    assert isinstance(user, UserMessage)
    assert isinstance(assistant, AssistantMessage)
    assert assistant.parts == (Text("Done."),)
    _turn(transcript, "two")
    assert len(transcript.to_send()) == 4
    assert transcript.to_send()[0] is user
    assert transcript.to_send()[1] is assistant
