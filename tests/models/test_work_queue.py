from __future__ import annotations

from models.protocols import Priority
from models.work_queue import WorkQueue


def drain(queue: WorkQueue[str]) -> list[list[str]]:
    batches = []
    while batch := queue.take(1, lambda _first, _other: True):
        batches.append(batch)
    return batches


def test_the_final_transcript_overtakes_what_is_only_speculative() -> None:
    queue: WorkQueue[str] = WorkQueue(8)
    for name, priority in (
        ("partial", Priority.PARTIAL),
        ("early", Priority.SPECULATIVE),
        ("end", Priority.FINAL),
    ):
        assert queue.put(name, priority) is not None
    assert drain(queue) == [["end"], ["early"], ["partial"]]


def test_withdrawn_work_is_not_done() -> None:
    queue: WorkQueue[str] = WorkQueue(8)
    taken = queue.put("stale", Priority.FINAL)
    queue.put("wanted", Priority.PARTIAL)
    assert taken is not None
    taken[0]()
    assert drain(queue) == [["wanted"]]


def test_a_full_queue_sheds_the_least_urgent_and_refuses_what_is_no_more_urgent() -> None:
    queue: WorkQueue[str] = WorkQueue(2)
    queue.put("final", Priority.FINAL)
    queue.put("partial", Priority.PARTIAL)
    assert queue.put("another partial", Priority.PARTIAL) is None
    taken = queue.put("speculative", Priority.SPECULATIVE)
    assert taken is not None
    assert taken[1] == "partial"
    assert drain(queue) == [["final"], ["speculative"]]


def test_only_what_fits_runs_together() -> None:
    queue: WorkQueue[str] = WorkQueue(8)
    for name in ("a1", "b1", "a2", "a3"):
        queue.put(name, Priority.FINAL)
    assert queue.take(2, lambda first, other: first[0] == other[0]) == ["a1", "a2"]
    assert drain(queue) == [["b1"], ["a3"]]
