"""The control process over its real unix socket: readiness in words, records, knowledge, metrics."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models.worker_protocol import Reply, Request
from models.worker_server import serve as serve_worker
from server.control.config import ControlConfig
from server.control.process import serve
from server.errors import PortTaken, SchemaTooNew
from tests.server.test_records_store import ended, snapshot, started, turn

pytestmark = pytest.mark.loopback


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def config(tmp_path: Path) -> ControlConfig:
    return ControlConfig(
        control_socket=str(tmp_path / "control.sock"),
        http_host="127.0.0.1",
        http_port=free_port(),
        records_url=f"sqlite:///{tmp_path / 'records.sqlite3'}",
        records_required=True,
        records_busy_timeout_ms=200,
        records_queue_limit=16,
        records_batch_limit=100,
        disk_free_min_bytes=1,
        data_directory=str(tmp_path),
        knowledge_directory=str(tmp_path / "knowledge"),
        embedding_name="letters",
        knowledge_lock_timeout_s=0.2,
        sip_status_socket=str(tmp_path / "sip-status.sock"),
        websocket_status_socket="",
        speech_socket=str(tmp_path / "speech.sock"),
        tts_socket=str(tmp_path / "tts.sock"),
        llm_base_url=f"http://127.0.0.1:{free_port()}/v1",
        llm_api_key="",
        llm_ready_file="",
        fresh_start=True,
        log_level="error",
    )


@dataclass
class Control:
    """A running control process's two doors."""

    owner: httpx.AsyncClient
    public: httpx.AsyncClient

    async def records(self, *items: dict[str, Any]) -> httpx.Response:
        return await self.owner.post("/internal/records", json={"ops": list(items)})

    async def missing(self) -> dict[str, str]:
        answer = (await self.public.get("/ready")).json()
        missing: dict[str, str] = answer["missing"]
        return missing


@asynccontextmanager
async def running(config: ControlConfig) -> AsyncIterator[Control]:
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(config, stop))
    transport = httpx.AsyncHTTPTransport(uds=config.control_socket)
    owner = httpx.AsyncClient(transport=transport, base_url="http://control", timeout=10)
    public = httpx.AsyncClient(base_url=f"http://127.0.0.1:{config.http_port}", timeout=10, trust_env=False)
    try:
        async with owner, public:
            control = Control(owner, public)
            await until(lambda: answers(control), serving)
            yield control
    finally:
        stop.set()
        await serving


async def answers(control: Control) -> bool:
    try:
        return (await control.owner.get("/health")).status_code == 200
    except httpx.TransportError:
        return False


async def until(condition: Callable[[], Awaitable[bool]], serving: asyncio.Task[None] | None = None) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            if serving is not None and serving.done():
                serving.result()
            await asyncio.sleep(0.02)


async def ping(_request: Request) -> AsyncIterator[Reply]:
    yield Reply({"ready": True, "model": "scripted"})


async def embed(request: Request) -> AsyncIterator[Reply]:
    """Count letters: texts with the same words are near each other."""
    rows = np.zeros((len(request.fields["texts"]), 26), "<f4")
    for row, text in zip(rows, request.fields["texts"], strict=True):
        for letter in text.lower():
            if "a" <= letter <= "z":
                row[ord(letter) - ord("a")] += 1
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    yield Reply({"dimensions": 26}, rows.tobytes())


@asynccontextmanager
async def neighbours(config: ControlConfig, *, agents: int = 1) -> AsyncIterator[None]:
    """Everything that control asks, answering."""

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f'{{"agents": {agents}, "legs": 1, "counters": {{"offers": 7}}}}\n'.encode())
        await writer.drain()
        writer.close()

    async def models(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    port = int(config.llm_base_url.split(":")[2].split("/")[0])
    speech = await serve_worker(Path(config.speech_socket), {"ping": ping, "embed": embed}, limit=8)
    tts = await serve_worker(Path(config.tts_socket), {"ping": ping}, limit=8)
    sip = await asyncio.start_unix_server(tell, config.sip_status_socket)
    llm = await asyncio.start_server(models, "127.0.0.1", port)
    try:
        yield
    finally:
        for server in (sip, llm):
            server.close()
        await speech.close()
        await tts.close()


def test_ready_is_yes_exactly_when_everything_answers(config: ControlConfig) -> None:
    async def scenario() -> None:
        async with running(config) as control:

            async def alone() -> bool:
                # The index takes a moment to open.
                return set(await control.missing()) == {"sip", "agent", "speech", "tts", "llm"}

            await until(alone)
            assert "does not answer" in (await control.missing())["tts"]
            async with neighbours(config):
                status = {"process": "agent", "connected": True, "calls": 1}
                await control.owner.post("/internal/status", json=status)

                async def ready() -> bool:
                    return (await control.public.get("/ready")).status_code == 200

                await until(ready)
                assert (await control.public.get("/ready")).json() == {"ready": True, "missing": {}}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("report", "agents", "part", "words"),
    [
        ({"connected": False}, 1, "agent", "not connected"),
        ({"connected": True, "warm": False}, 1, "agent", "warming"),
        ({"connected": True}, 0, "sip", "no agent"),
    ],
    ids=["not_connected", "cold", "no_agent_at_the_door"],
)
def test_what_is_missing_is_said_in_words(
    config: ControlConfig, report: dict[str, bool], agents: int, part: str, words: str
) -> None:
    async def scenario() -> None:
        async with running(config) as control, neighbours(config, agents=agents):
            await control.owner.post("/internal/status", json={"process": "agent", **report})

            async def only_this() -> bool:
                return set(await control.missing()) == {part}

            await until(only_this)
            assert words in (await control.missing())[part]

    asyncio.run(scenario())


def test_a_full_disk_makes_it_not_ready_and_the_agent_is_told(config: ControlConfig) -> None:
    async def scenario() -> None:
        async with running(replace(config, disk_free_min_bytes=1 << 60)) as control:
            assert "MiB of disk free; expected at least" in (await control.missing())["disk"]

    asyncio.run(scenario())


def test_records_are_on_disk_when_the_answer_comes_and_stay_after_a_restart(config: ControlConfig) -> None:
    async def scenario() -> None:
        async with running(config) as control:
            answer = await control.records(started(), turn(2), snapshot(3, "words"))
            assert answer.json() == {"accepted": 3, "rejected": []}
            database = sqlite3.connect(config.records_url.removeprefix("sqlite:///"))
            assert database.execute("SELECT heard FROM turn").fetchall() == [("when do you open",)]
            database.close()
        async with running(replace(config, fresh_start=False)) as control:
            (call,) = (await control.owner.get("/internal/calls/open")).json()["calls"]
            assert (call["sequence"], call["snapshot"]["history"]) == (3, ["words"])
            await control.records(ended(4))
            listed = (await control.owner.get("/internal/calls")).json()["calls"]
            assert [(item["call_id"], item["end_reason"]) for item in listed] == [("c1", "completed")]

    asyncio.run(scenario())


def test_a_call_cut_off_is_interrupted_after_a_fresh_start(config: ControlConfig) -> None:
    async def scenario() -> None:
        async with running(config) as control:
            await control.records(started(), turn(2))
        async with running(config) as control:
            call = (await control.owner.get("/internal/calls/c1")).json()
            assert (call["end_reason"], call["turns"][0]["said"]) == ("interrupted", "At eight.")
            assert (await control.owner.get("/internal/calls/open")).json() == {"calls": []}

    asyncio.run(scenario())


def test_records_refuse_what_they_cannot_take_and_say_why(config: ControlConfig) -> None:
    async def scenario() -> None:
        async with running(config) as control:
            answer = await control.records(started(), {**turn(2), "heard": 5}, turn(3, call_id="ghost"))
            assert answer.json()["accepted"] == 1
            assert ["heard" in item["reason"] or item["call_id"] for item in answer.json()["rejected"]] == [
                True,
                "ghost",
            ]
            wrong = await control.owner.post("/internal/records", json={"ops": "turn"})
            assert (wrong.status_code, wrong.json()["detail"]) == (422, "ops: expected a list of operations")
            assert (await control.owner.get("/internal/calls/nobody")).status_code == 404
            assert "landline_records_rejected_total 2.0" in (await control.public.get("/metrics")).text

    asyncio.run(scenario())


def test_the_public_port_shows_no_calls(config: ControlConfig) -> None:
    async def scenario() -> None:
        async with running(config) as control:
            await control.records(started())
            for path in (
                "/internal/calls",
                "/internal/calls/c1",
                "/internal/kb/clinic/documents",
                "/openapi.json",
            ):
                assert (await control.public.get(path)).status_code == 404
            assert (await control.public.get("/health")).json() == {"status": "alive"}
            assert "anna" not in (await control.public.get("/metrics")).text

    asyncio.run(scenario())


def test_metrics_count_calls_turns_stages_processes_and_the_telephone(config: ControlConfig) -> None:
    async def scenario() -> None:
        async with running(config) as control, neighbours(config):
            await control.records(started(), ended(2))
            await control.records(started(), ended(2))
            await control.owner.post(
                "/internal/status",
                json={
                    "process": "agent",
                    "connected": True,
                    "calls": 2,
                    "turns": {"grounded": 3},
                    "stages_ms": {
                        "grounded": {"words": [210, 400], "gap": [450]},
                        "fixed": {"barge_in": [140]},
                    },
                    "speculation_hits": 3,
                    "speculation_misses": 1,
                    "wasted_ms": {"llm": 1500},
                    "waits_ms": {"stt": [30]},
                    "refused": {"records": 1},
                    "capacity": 5,
                    "head_room": 3,
                    "busy": 0.9,
                    "shedding": 1,
                },
            )
            await control.owner.post(
                "/internal/status",
                json={"process": "supervisor", "processes": {"tts": {"up": False, "restarts": 4}}},
            )
            text = (await control.public.get("/metrics")).text
        for line in (
            'landline_calls_total{end_reason="completed"} 1.0',
            "landline_calls_active 2.0",
            'landline_turns_total{turn_class="grounded"} 3.0',
            'landline_stage_seconds_bucket{le="0.3",stage="words",turn_class="grounded"} 1.0',
            'landline_stage_seconds_count{stage="words",turn_class="grounded"} 2.0',
            'landline_response_gap_seconds_bucket{le="0.45",turn_class="grounded"} 1.0',
            'landline_response_gap_seconds_bucket{le="0.35",turn_class="grounded"} 0.0',
            'landline_barge_in_seconds_bucket{le="0.15"} 1.0',
            'landline_speculations_total{outcome="hit"} 3.0',
            'landline_speculations_total{outcome="miss"} 1.0',
            'landline_speculation_wasted_seconds_total{kind="llm"} 1.5',
            'landline_model_wait_seconds_bucket{kind="stt",le="0.05"} 1.0',
            'landline_calls_refused_total{reason="records"} 1.0',
            "landline_capacity_calls 5.0",
            "landline_head_room_calls 3.0",
            "landline_models_busy_ratio 0.9",
            'landline_shedding{what="speculation"} 1.0',
            'landline_shedding{what="partials"} 0.0',
            'landline_process_up{process="tts"} 0.0',
            'landline_process_restarts{process="tts"} 4.0',
            'landline_sip{statistic="counters_offers"} 7.0',
            'landline_part_ready{part="llm"} 1.0',
        ):
            assert line in text, line

    asyncio.run(scenario())


def test_documents_go_in_are_found_listed_and_forgotten(config: ControlConfig, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "hours.md").write_text("# Hours\n\nOn Saturday we open at nine.\n")
    (folder / "notes.xyz").write_text("?")

    async def scenario() -> None:
        async with running(config) as control, neighbours(config):

            async def opened() -> bool:
                return (await control.owner.get("/internal/kb/clinic/documents")).status_code == 200

            await until(opened)
            path = "/internal/kb/clinic/documents"
            first = (await control.owner.post(path, json={"paths": [str(folder)]})).json()
            assert (first["added"], len(first["unchanged"])) == (["hours.md"], 0)
            again = (await control.owner.post(path, json={"paths": [str(folder)]})).json()
            assert (again["added"], again["unchanged"]) == ([], ["hours.md"])
            found = (
                await control.owner.post("/internal/kb/clinic/query", json={"text": "saturday open"})
            ).json()
            assert found["passages"][0]["source"] == "hours.md"
            assert "nine" in found["passages"][0]["text"]
            assert (
                await control.owner.request("DELETE", path, params={"source": "hours.md"})
            ).status_code == 200
            assert (
                await control.owner.request("DELETE", path, params={"source": "hours.md"})
            ).status_code == 404
            assert (await control.owner.get(path)).json() == {"documents": []}
            relative = await control.owner.post(path, json={"paths": ["documents"]})
            assert (relative.status_code, "absolute" in relative.json()["detail"]) == (422, True)
            bad = await control.owner.post("/internal/kb/x/query", json={"text": "hours"})
            assert bad.status_code == 422
            words = await control.owner.post("/internal/kb/clinic/query", json={"txt": "my name is Anna"})
            assert words.status_code == 422
            assert "Anna" not in words.text

    asyncio.run(scenario())


def test_without_embeddings_a_question_is_answered_at_once_that_there_are_none(config: ControlConfig) -> None:
    async def scenario() -> None:
        async with running(config) as control:

            async def opened() -> bool:
                return (await control.owner.get("/internal/kb/clinic/documents")).status_code == 200

            await until(opened)
            answer = await control.owner.post("/internal/kb/clinic/query", json={"text": "hours"})
            assert (answer.status_code, "speech worker" in answer.json()["detail"]) == (503, True)

    asyncio.run(scenario())


def test_a_port_that_is_taken_is_named(config: ControlConfig) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", config.http_port))
        other.listen()
        with pytest.raises(PortTaken, match=f"{config.http_port}.*http.port"):
            asyncio.run(serve(config, asyncio.Event()))


def test_records_of_a_later_version_are_left_alone(config: ControlConfig) -> None:
    database = sqlite3.connect(config.records_url.removeprefix("sqlite:///"))
    database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
    database.execute("INSERT INTO alembic_version VALUES ('0099')")
    database.commit()
    database.close()
    with pytest.raises(SchemaTooNew, match="0099"):
        asyncio.run(serve(config, asyncio.Event()))
