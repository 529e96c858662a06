"""The HTTP interface: what everybody may see, and what only the owner's unix socket offers."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, assert_never

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.status import HTTP_507_INSUFFICIENT_STORAGE

from kb import KnowledgeError
from server.control.knowledge import KnowledgeOwner, KnowledgeUnavailable
from server.control.metrics import AgentStatus, Metrics, SupervisorStatus
from server.control.readiness import AgentReports, Readiness
from server.errors import RecordRejected, RecordsUnavailable
from server.records import store
from server.records.operations import parse_operations
from server.records.writer import RecordsWriter

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What the routes stand on."""

    metrics: Metrics
    readiness: Readiness
    reports: AgentReports
    writer: RecordsWriter
    read: Callable[[Callable[[Connection], Any]], Awaitable[Any]]
    """Runs a question to the records on a thread."""
    knowledge: KnowledgeOwner


class Question(BaseModel):
    """A question to the knowledge base."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=4000)
    limit: int = Field(default=4, ge=1, le=50)


class Documents(BaseModel):
    """Files and folders to take in, as absolute paths of this machine."""

    model_config = ConfigDict(extra="forbid")

    paths: list[Path] = Field(min_length=1, max_length=1000)


def public_app(parts: Parts) -> FastAPI:
    """Return the app of the TCP port: nothing personal, nothing that changes anything."""
    app = FastAPI(title="Landline", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        missing = await parts.readiness.missing()
        status = 503 if missing else 200
        return JSONResponse({"ready": not missing, "missing": missing}, status, {"Cache-Control": "no-store"})

    @app.get("/metrics")
    async def metrics() -> Response:
        # Asking the parts fills their gauges.
        await parts.readiness.missing()
        return Response(parts.metrics.render(), media_type=_METRICS_TYPE)

    return app


def owner_app(parts: Parts) -> FastAPI:
    """Return the app of ``control.sock``."""
    app = public_app(parts)

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> JSONResponse:
        # The default answer quotes what was sent, which may be a caller's words.
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"detail": f"{place}: {first['msg']}"}, 422)

    _add_records(app, parts)
    _add_knowledge(app, parts)

    @app.post("/internal/status")
    async def status(report: SupervisorStatus | AgentStatus) -> dict[str, bool]:
        match report:
            case SupervisorStatus():
                parts.metrics.supervisor(report)
            case AgentStatus():
                parts.reports.take(connected=report.connected, warm=report.warm)
                parts.metrics.agent(report)
            case _:
                assert_never(report)
        return {"accepted": True}

    return app


def _add_records(app: FastAPI, parts: Parts) -> None:
    @app.post("/internal/records")
    async def append(body: dict[str, Any]) -> dict[str, Any]:
        try:
            operations, malformed = parse_operations(body.get("ops"))
            outcome = await parts.writer.append(operations)
        except RecordRejected as error:
            raise HTTPException(422, str(error)) from None
        except RecordsUnavailable as error:
            status = HTTP_507_INSUFFICIENT_STORAGE if error.reason == "disk_full" else 503
            raise HTTPException(status, str(error)) from None
        rejected = (*malformed, *outcome.rejected)
        parts.metrics.count_records(outcome.written)
        parts.metrics.count_rejected(len(rejected))
        return {
            "accepted": len(operations) - len(outcome.rejected),
            "rejected": [dataclasses.asdict(item) for item in rejected],
        }

    @app.get("/internal/calls/open")
    async def open_calls() -> dict[str, Any]:
        return {"calls": await _reading(parts, store.open_calls)}

    @app.get("/internal/calls")
    async def list_calls(
        limit: Annotated[int, Query(ge=1, le=1000)] = 20, before: datetime | None = None
    ) -> dict[str, Any]:
        return {
            "calls": await _reading(parts, lambda link: store.list_calls(link, limit=limit, before=before))
        }

    @app.get("/internal/calls/{call_id}")
    async def show_call(call_id: str) -> dict[str, Any]:
        found: dict[str, Any] | None = await _reading(parts, lambda link: store.show_call(link, call_id))
        if found is None:
            raise HTTPException(404, "no such call; expected an id as `landline calls list` shows it")
        return found


async def _reading(parts: Parts, question: Callable[[Connection], Any]) -> Any:
    try:
        return await parts.read(question)
    except RecordsUnavailable as error:
        raise HTTPException(503, str(error)) from None


def _add_knowledge(app: FastAPI, parts: Parts) -> None:
    knowledge = parts.knowledge

    @app.exception_handler(KnowledgeUnavailable)
    async def unavailable(_request: Request, error: KnowledgeUnavailable) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 503)

    @app.exception_handler(KnowledgeError)
    async def refused(_request: Request, error: KnowledgeError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @app.post("/internal/kb/{collection}/query")
    async def query(collection: str, question: Question) -> dict[str, Any]:
        passages = await knowledge.query(collection, question.text, question.limit)
        return {"passages": [dataclasses.asdict(passage) for passage in passages]}

    @app.post("/internal/kb/{collection}/documents")
    async def add(collection: str, documents: Documents) -> dict[str, Any]:
        if relative := [path for path in documents.paths if not path.is_absolute()]:
            raise HTTPException(422, f"{relative[0]}: expected an absolute path")
        return dataclasses.asdict(await knowledge.add(collection, documents.paths))

    @app.get("/internal/kb/{collection}/documents")
    async def documents(collection: str) -> dict[str, Any]:
        return {"documents": [dataclasses.asdict(item) for item in await knowledge.documents(collection)]}

    @app.delete("/internal/kb/{collection}/documents")
    async def remove(collection: str, source: str) -> dict[str, int]:
        passages = await knowledge.remove(collection, source)
        if not passages:
            raise HTTPException(404, "no such document; expected a source as `landline kb list` shows it")
        return {"passages": passages}
