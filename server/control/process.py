"""Runs the control process: opens the records and the index, and serves both apps in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from models.worker_client import WorkerClient
from server.control.app import Parts, owner_app, public_app
from server.control.config import ControlConfig
from server.control.knowledge import KnowledgeOwner
from server.control.metrics import Metrics
from server.control.readiness import (
    AgentReports,
    Readiness,
    agent_probe,
    disk_probe,
    knowledge_probe,
    llm_probe,
    records_probe,
    sip_probe,
    websocket_probe,
    worker_probe,
)
from server.errors import PortTaken
from server.records import store
from server.records.database import migrate, open_database, open_for_reading, unavailable
from server.records.writer import RecordsWriter

T = TypeVar("T")

_READ_THREADS: Final = 2
_BACKLOG: Final = 64
_STOP_S: Final = 3.0
_REQUESTS_AT_ONCE: Final = 128

_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """A server that leaves signals to the process it is part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve(config: ControlConfig, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set. Raises PortTaken, SchemaTooNew, RecordsUnavailable before anything is served."""
    async with contextlib.AsyncExitStack() as stack:
        listeners = [
            stack.enter_context(_listen_tcp(config.http_host, config.http_port)),
            stack.enter_context(_listen_unix(Path(config.control_socket))),
        ]
        writer, reader = _open_records(config, stack)
        if config.fresh_start and (closed := await writer.transact(store.close_interrupted)):
            _log.warning("calls_closed_as_interrupted", extra={"closed": closed})
        speech, tts = WorkerClient(Path(config.speech_socket)), WorkerClient(Path(config.tts_socket))
        stack.push_async_callback(tts.close)
        knowledge = KnowledgeOwner(
            Path(config.knowledge_directory),
            speech,
            model=config.embedding_name,
            lock_timeout_s=config.knowledge_lock_timeout_s,
        )
        stack.push_async_callback(knowledge.close)
        headers = {"Authorization": f"Bearer {config.llm_api_key}"} if config.llm_api_key else {}
        http = await stack.enter_async_context(
            httpx.AsyncClient(timeout=1.0, headers=headers, trust_env=False)
        )
        readers = ThreadPoolExecutor(_READ_THREADS, "reader")
        stack.callback(readers.shutdown)
        parts = _parts(config, writer, reader, readers, speech, tts, knowledge, http)
        servers = [_server(public_app(parts)), _server(owner_app(parts))]
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(writer.run()), group.create_task(knowledge.run())]
            serving = [
                group.create_task(server.serve(sockets=[listener]))
                for server, listener in zip(servers, listeners, strict=True)
            ]
            _log.info("control_serves", extra={"port": config.http_port})
            await stop.wait()
            for server in servers:
                server.should_exit = True
            await asyncio.wait(serving, timeout=_STOP_S)
            for task in (*serving, *background):
                task.cancel()


def _open_records(config: ControlConfig, stack: contextlib.AsyncExitStack) -> tuple[RecordsWriter, Engine]:
    engine = open_database(config.records_url, busy_timeout_ms=config.records_busy_timeout_ms)
    writer = RecordsWriter(
        engine, queue_limit=config.records_queue_limit, batch_limit=config.records_batch_limit
    )
    stack.callback(writer.close)
    migrate(engine)
    reader = open_for_reading(config.records_url, busy_timeout_ms=config.records_busy_timeout_ms)
    stack.callback(reader.dispose)
    return writer, reader


def _parts(
    config: ControlConfig,
    writer: RecordsWriter,
    reader: Engine,
    readers: ThreadPoolExecutor,
    speech: WorkerClient,
    tts: WorkerClient,
    knowledge: KnowledgeOwner,
    http: httpx.AsyncClient,
) -> Parts:
    metrics = Metrics()
    reports = AgentReports()
    probes = {
        "sip": sip_probe(config.sip_status_socket, metrics),
        "agent": agent_probe(reports),
        "speech": worker_probe(speech, "speech"),
        "tts": worker_probe(tts, "tts"),
        "llm": llm_probe(http, config.llm_base_url, config.llm_ready_file),
        "knowledge": knowledge_probe(knowledge),
        "records": records_probe(writer, required=config.records_required),
        "disk": disk_probe(config.data_directory, config.disk_free_min_bytes, writer, metrics),
    }

    if config.websocket_status_socket:
        probes["websocket"] = websocket_probe(config.websocket_status_socket, metrics)

    async def read(question: Callable[[Connection], T]) -> T:
        def run() -> T:
            try:
                with reader.connect() as connection:
                    return question(connection)
            except DBAPIError as error:
                raise unavailable(error) from error

        return await asyncio.get_running_loop().run_in_executor(readers, run)

    return Parts(metrics, Readiness(probes, metrics), reports, writer, read, knowledge)


def _server(app: FastAPI) -> _Server:
    settings: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "lifespan": "off",
        "server_header": False,
    }
    return _Server(
        uvicorn.Config(
            app,
            backlog=_BACKLOG,
            limit_concurrency=_REQUESTS_AT_ONCE,
            timeout_graceful_shutdown=2,
            **settings,
        )
    )


def _listen_tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"HTTP {host}:{port}: {error.strerror}; set http.port to a free port") from None
    return listener


def _listen_unix(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    os.chmod(path, 0o600)
    return listener
