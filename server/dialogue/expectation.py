"""What kind of answer the agent waits for, read from the conversation's state. Sans-I/O."""

from __future__ import annotations

from server.dialogue.agent_file import Agent
from server.dialogue.replies import Expectation
from server.dialogue.state import State

_OPEN = Expectation()


def expectation(agent: Agent, state: State) -> Expectation:
    """Return what the open question asks for; ``open`` where anything may come."""
    task = state.task
    if task is None:
        # "Anything else?" is not among them: a yes to it usually goes on with what that is.
        yes_no = state.offer == "person" or state.offer.startswith("task:")
        return Expectation("yes_no") if yes_no else _OPEN
    if task.confirming or task.doubtful is not None:
        return Expectation("yes_no")
    slot = agent.tasks[task.name].slots.get(task.open_slot)
    match slot.kind if slot is not None else "text":
        case "digits":
            assert slot is not None
            return Expectation("digits", max(1, slot.digits - len(state.keyed)))
        case "date" | "time":
            return Expectation("date_time")
        case "name":
            return Expectation("name")
        case _:
            return _OPEN


def asks(state: State) -> bool:
    """Return whether the reply that plays, or else the last one, ends with a question."""
    return (state.planned or state.last_said).rstrip(" \"'”’)").endswith("?")
