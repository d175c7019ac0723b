"""The to-do list: a fact like everything else, in the view, and kept by a compaction."""

from quell.core import facts as f
from quell.core.messages import Reply, SummaryMessage, ToolCall, ToolResult
from quell.core.todos import Todo
from quell.core.transcript import Transcript
from quell.core.view import View, apply
from quell.testing.journals import moment


def test_the_list_is_in_the_view_and_outlives_a_compaction() -> None:
    written = {"todos": [{"content": "Read", "status": "completed"}, {"content": "Write"}]}
    facts: list[f.AnyFact] = [
        f.SessionCreated(session="s", workspace="/work"),
        f.PromptAccepted(prompt="p", text="go", digest=""),
        f.RunStarted(run="r3", entry="p", entry_kind="prompt"),
        f.Replied(run="r3", turn=1, attempt=1, message="m", reply=Reply(parts=(ToolCall("m-c0", "todos", "{}"),))),
        f.CallStarted(run="r3", call="m-c0"),
        f.CallFinished(run="r3", call="m-c0", result=ToolResult(text="ok", metadata=written)),
        f.CompactionStarted(run="r3", upto=6),
        f.Compacted(run="r3", upto=6, message="m2", summary="We read."),
    ]
    view, transcript = View(), Transcript()
    for number, fact in enumerate(facts, 1):
        apply(view, f.Recorded(number, moment(number), fact))
        transcript.add(f.Recorded(number, moment(number), fact))
    assert view.todos == transcript.todos == (Todo("Read", "completed"), Todo("Write"))
    summary, _ = transcript.to_send()  # and what was asked
    assert isinstance(summary, SummaryMessage)
    assert summary.text == "We read.\n\nThe to-do list, as it stands:\n- [completed] Read\n- [pending] Write"
