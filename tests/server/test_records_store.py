"""What a person finds in the records after calls, repetitions, faults and restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine

from server.errors import RecordRejected, RecordsUnavailable, SchemaTooNew
from server.records import schema, store
from server.records.database import migrate, open_database, open_for_reading
from server.records.operations import Operation, Rejection, parse_operations
from server.records.writer import RecordsWriter


def started(sequence: int = 1, call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    return {
        "op": "call_started",
        "call_id": call_id,
        "sequence": sequence,
        "at": "2026-03-01T10:00:00+00:00",
        "door": "sip",
        "agent_name": "clinic",
        "agent_version": "1",
        "caller": "sip:anna@example.org",
        "callee": "sip:clinic@example.org",
        "facts": {"user_agent": "phone"},
        "codec": "PCMU",
        **fields,
    }


def turn(sequence: int, call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    return {
        "op": "turn",
        "call_id": call_id,
        "sequence": sequence,
        "at": "2026-03-01T12:00:05+02:00",
        "turn": 1,
        "heard": "when do you open",
        "said": "At eight.",
        "turn_class": "grounded",
        "sources": ["hours.md"],
        "ledger": {"stt": 210.5},
        **fields,
    }


def snapshot(sequence: int, words: str) -> dict[str, Any]:
    return {
        "op": "snapshot",
        "call_id": "c1",
        "sequence": sequence,
        "at": "2026-03-01T10:00:06Z",
        "state": {"version": 1, "history": [words]},
    }


def ended(sequence: int, reason: str = "completed") -> dict[str, Any]:
    return {
        "op": "call_ended",
        "call_id": "c1",
        "sequence": sequence,
        "at": "2026-03-01T10:01:00Z",
        "end_reason": reason,
        "statistics": {"packets_sent": 3000},
        "duration_ms": 60000,
    }


def parsed(*items: dict[str, Any]) -> list[Operation]:
    operations, rejections = parse_operations(list(items))
    assert not rejections
    return operations


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'records.sqlite3'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_database(url, busy_timeout_ms=100)
    migrate(engine)
    yield engine
    engine.dispose()


def write(engine: Engine, *items: dict[str, Any]) -> tuple[list[Operation], list[Rejection]]:
    with engine.begin() as connection:
        return store.apply(connection, parsed(*items))


def shown(engine: Engine, call_id: str = "c1") -> dict[str, Any]:
    with engine.connect() as connection:
        found = store.show_call(connection, call_id)
    assert found is not None
    return found


def test_a_call_reads_back_as_it_happened(engine: Engine) -> None:
    tool = {
        "op": "tool",
        "call_id": "c1",
        "sequence": 3,
        "at": "2026-03-01T10:00:20Z",
        "turn": 1,
        "tool": "book",
        "arguments": {"day": "2026-12-03"},
        "provenance": {"day": {"kind": "utterance", "reference": "1", "quote": "the third"}},
        "idempotency_key": "c1:1:book",
        "outcome": "ok",
        "result": {"id": 7},
        "duration_ms": 12.5,
    }
    hold = {
        "op": "transition",
        "call_id": "c1",
        "sequence": 4,
        "at": "2026-03-01T10:00:30Z",
        "name": "hold",
        "detail": {"held": True},
    }
    write(engine, started(), turn(2), tool, hold, ended(5, "transferred"))
    call = shown(engine)
    assert (call["end_reason"], call["duration_ms"]) == ("transferred", 60000)
    assert call["turns"][0]["heard"] == "when do you open"
    assert call["turns"][0]["at"] == "2026-03-01T10:00:05+00:00"
    assert call["tools"][0]["arguments"] == {"day": "2026-12-03"}
    assert call["transitions"][0]["detail"] == {"held": True}


def test_sending_again_changes_nothing(engine: Engine) -> None:
    write(engine, started(), turn(2))
    written, rejected = write(engine, started(), turn(2, heard="another"), turn(3, heard="more"))
    assert ([item.sequence for item in written], rejected) == ([3], [])
    assert [item["heard"] for item in shown(engine)["turns"]] == ["when do you open", "more"]


def test_repetition_within_one_request_counts_once(engine: Engine) -> None:
    written, rejected = write(engine, started(), turn(2), turn(2))
    assert (len(written), rejected) == (2, [])


def test_an_operation_without_its_call_does_not_hold_back_others(engine: Engine) -> None:
    written, rejected = write(engine, turn(9, call_id="ghost"), started(), turn(2))
    assert len(written) == 2
    assert [(item.call_id, item.sequence) for item in rejected] == [("ghost", 9)]
    assert "never started" in rejected[0].reason


def test_an_agent_that_takes_over_finds_sequence_and_last_state(engine: Engine) -> None:
    write(engine, started(), snapshot(2, "first"), turn(3), snapshot(4, "second"), turn(5))
    with engine.connect() as connection:
        (call,) = store.open_calls(connection)
    assert (call["call_id"], call["sequence"]) == ("c1", 5)
    assert call["snapshot"] == {"version": 1, "history": ["second"]}


def test_a_late_older_snapshot_does_not_replace_a_newer(engine: Engine) -> None:
    write(engine, started(), snapshot(4, "second"))
    write(engine, snapshot(2, "first"))
    with engine.connect() as connection:
        assert store.open_calls(connection)[0]["snapshot"]["history"] == ["second"]


def test_an_ended_call_is_not_open_and_keeps_no_state(engine: Engine) -> None:
    write(engine, started(), snapshot(2, "words"), ended(3))
    with engine.connect() as connection:
        assert store.open_calls(connection) == []
        assert connection.execute(schema.snapshot.select()).all() == []


def test_a_call_cut_off_is_closed_as_interrupted_at_its_last_sign_of_life(engine: Engine) -> None:
    write(engine, started(), turn(2), started(call_id="c2"), {**ended(2), "call_id": "c2"})
    with engine.begin() as connection:
        assert store.close_interrupted(connection) == 1
    call = shown(engine)
    assert (call["end_reason"], call["duration_ms"]) == ("interrupted", 5000)
    assert shown(engine, "c2")["end_reason"] == "completed"


def test_a_ledger_takes_every_name(engine: Engine) -> None:
    """Stages are renamed and added from one version to the next; records of all of them are kept as they are."""
    ledger = {
        "network": 20,
        "detect": 61.5,
        "gap": 480,
        "speculation": 1,
        "wasted_llm_ms": 900.25,
        "barge_in": None,
        "of_tomorrow": 7,
    }
    write(engine, started(), turn(2, revision=3, ledger=ledger))
    (kept,) = shown(engine)["turns"]
    assert (kept["ledger"], kept["revision"]) == (ledger, 3)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [("completed", "caller_hangup", "completed"), ("interrupted", "caller_hangup", "caller_hangup")],
    ids=["first_end_stands", "a_guess_gives_way"],
)
def test_two_ends(engine: Engine, first: str, second: str, kept: str) -> None:
    write(engine, started(), ended(2, first), ended(3, second))
    assert shown(engine)["end_reason"] == kept


def test_calls_are_listed_newest_first_with_turns_counted_once_a_revision(engine: Engine) -> None:
    write(engine, started(), turn(2), turn(3, revision=1), turn(4, turn=2))
    write(engine, started(call_id="c2", at="2026-03-01T11:00:00Z"))
    with engine.connect() as connection:
        listed = store.list_calls(connection, limit=10)
    assert [(call["call_id"], call["turns"]) for call in listed] == [("c2", 0), ("c1", 2)]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (turn(0), "turn.sequence"),
        (turn(2, at="2026-03-01T10:00:00"), "turn.at"),
        (turn(2, mood="good"), "turn.mood"),
        ({**ended(2), "end_reason": "bored"}, "call_ended.end_reason"),
        ({"op": "dance"}, "tag"),
        ("turn", "dictionary"),
    ],
    ids=["sequence", "time_without_zone", "unknown_field", "reason", "unknown_op", "no_object"],
)
def test_a_malformed_operation_is_named_without_its_words(item: Any, reason: str) -> None:
    operations, (rejection,) = parse_operations([item, started()])
    assert len(operations) == 1
    assert reason in rejection.reason
    assert "when do you open" not in rejection.reason


def test_a_request_without_a_list_is_refused() -> None:
    with pytest.raises(RecordRejected, match="expected a list"):
        parse_operations({"op": "turn"})


def test_migrations_build_exactly_the_schema(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_migrating_twice_keeps_the_calls(engine: Engine) -> None:
    write(engine, started())
    migrate(engine)
    assert shown(engine)["door"] == "sip"


def test_a_newer_schema_is_refused_and_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0099'")
    with pytest.raises(SchemaTooNew, match=r"0099.*expected one of 0001"):
        migrate(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "0099"


def test_every_personal_column_names_its_key() -> None:
    personal = {
        "caller",
        "callee",
        "facts",
        "heard",
        "said",
        "arguments",
        "provenance",
        "result",
        "detail",
        "state",
    }
    found = {
        column.name
        for table in schema.metadata.tables.values()
        for column in table.columns
        if f"{column.name}_key_id" in table.columns
    }
    assert found == personal


def test_reading_beside_a_running_writer_and_never_writing(engine: Engine, url: str) -> None:
    write(engine, started())
    reader = open_for_reading(url, busy_timeout_ms=100)
    with engine.begin() as writing, reader.connect() as reading:
        store.apply(writing, parsed(turn(2)))
        assert store.list_calls(reading, limit=5)[0]["turns"] == 0
        with pytest.raises(Exception, match="readonly"):
            reading.exec_driver_sql("DELETE FROM call")


def test_reading_before_the_first_call_says_so(url: str) -> None:
    with pytest.raises(RecordsUnavailable, match="no records yet"):
        open_for_reading(url, busy_timeout_ms=100)


def fill(engine: Engine) -> None:
    """Let SQLite itself report a full disk from now on."""
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


def faulty(writer: RecordsWriter) -> bool:
    return writer.fault is not None


def test_a_full_disk_is_named_leaves_nothing_half_and_heals(url: str) -> None:
    async def scenario() -> None:
        engine = open_database(url, busy_timeout_ms=100)
        migrate(engine)
        writer = RecordsWriter(engine, queue_limit=4, batch_limit=100)
        serving = asyncio.create_task(writer.run())
        await writer.append(parsed(started()))
        fill(engine)
        with pytest.raises(RecordsUnavailable, match="disk is full") as caught:
            await writer.append(parsed(turn(2), turn(3, heard="x" * 1_000_000)))
        assert caught.value.reason == "disk_full"
        await writer.probe()
        assert faulty(writer)
        assert shown(engine)["turns"] == []
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        await writer.probe()
        assert not faulty(writer)
        outcome = await writer.append(parsed(turn(2), turn(3)))
        assert len(outcome.written) == 2
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        writer.close()

    asyncio.run(scenario())


def test_requests_are_answered_each_with_its_own_operations_after_commit(url: str) -> None:
    async def scenario() -> None:
        engine = open_database(url, busy_timeout_ms=100)
        migrate(engine)
        writer = RecordsWriter(engine, queue_limit=4, batch_limit=100)
        requests = [parsed(started(call_id=name), turn(2, call_id=name)) for name in ("a", "b")]
        appending = [asyncio.create_task(writer.append(request)) for request in requests]
        appending.append(asyncio.create_task(writer.append(parsed(turn(1, call_id="ghost")))))
        serving = asyncio.create_task(writer.run())
        first, second, third = await asyncio.gather(*appending)
        assert {item.call_id for item in first.written} == {"a"}
        assert {item.call_id for item in second.written} == {"b"}
        assert [item.call_id for item in third.rejected] == ["ghost"]
        assert len(shown(engine, "b")["turns"]) == 1
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        writer.close()

    asyncio.run(scenario())


def test_beyond_its_bound_the_writer_says_busy(url: str) -> None:
    async def scenario() -> None:
        engine = open_database(url, busy_timeout_ms=100)
        writer = RecordsWriter(engine, queue_limit=1, batch_limit=100)
        waiting = asyncio.create_task(writer.append(parsed(started())))
        await asyncio.sleep(0)
        with pytest.raises(RecordsUnavailable, match="too many"):
            await writer.append(parsed(started(call_id="c2")))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        writer.close()

    asyncio.run(scenario())


def test_a_database_held_by_another_program_is_named(engine: Engine, url: str) -> None:
    async def scenario() -> None:
        other = open_database(url, busy_timeout_ms=100)
        writer = RecordsWriter(engine, queue_limit=4, batch_limit=100)
        with other.begin():
            serving = asyncio.create_task(writer.run())
            with pytest.raises(RecordsUnavailable, match="another program"):
                await writer.append(parsed(started()))
        assert len((await writer.append(parsed(started()))).written) == 1
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        writer.close()
        other.dispose()

    asyncio.run(scenario())


def test_the_beginning_of_an_id_is_enough_where_only_one_call_has_it(engine: Engine) -> None:
    write(engine, started(call_id="abcd1234"), started(call_id="abcd9876"), started(call_id="ab"))
    with engine.connect() as connection:
        found = {
            key: store.show_call(connection, key) for key in ("abcd1", "abcd", "abc", "ab", "abcd9876", "%")
        }
    assert {key: call and call["call_id"] for key, call in found.items()} == {
        "abcd1": "abcd1234",
        "abcd": None,
        "abc": None,
        "ab": "ab",
        "abcd9876": "abcd9876",
        "%": None,
    }
