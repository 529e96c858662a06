"""``landline kb``: documents in, questions to them; through the running owner, else under the file lock."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.commands.context import ask_control, settings_of
from server.errors import ControlUnavailable, LandlineError

if TYPE_CHECKING:
    from kb import KnowledgeBase
    from server.config import Settings

app = typer.Typer(help="The knowledge base: documents the agent answers from.", no_args_is_help=True)

_ADD_LIMIT_S = 3600.0

_Collection = Annotated[str, typer.Argument(help="Collection; an agent searches the one of its name.")]


@app.command()
def add(
    context: typer.Context,
    collection: _Collection,
    paths: Annotated[list[Path], typer.Argument(help="Files or folders: Markdown, text, HTML.")],
) -> None:
    """Add documents, or refresh them; unchanged ones cost nothing."""
    settings = settings_of(context)
    absolute = [path.expanduser().resolve() for path in paths]
    if missing := [path for path in absolute if not path.exists()]:
        raise LandlineError(f"{missing[0]} is not there; expected a file or a folder")
    report = _ask(
        settings,
        "POST",
        f"/internal/kb/{collection}/documents",
        lambda base: dataclasses.asdict(base.add(collection, absolute)),
        body={"paths": [str(path) for path in absolute]},
    )
    print(
        f"{collection}: {len(report['added'])} added or changed ({report['passages']} passages),"
        f" {len(report['unchanged'])} unchanged, {len(report['removed'])} removed"
    )
    for path, reason in report["failed"]:
        print(f"left out: {path}: {reason}")
    if report["failed"]:
        raise typer.Exit(1)


@app.command("list")
def list_documents(context: typer.Context, collection: _Collection) -> None:
    """List the documents of a collection."""
    from rich.console import Console
    from rich.table import Table

    settings = settings_of(context)
    found = _ask(
        settings,
        "GET",
        f"/internal/kb/{collection}/documents",
        lambda base: {"documents": [dataclasses.asdict(item) for item in base.documents(collection)]},
    )["documents"]
    table = Table("source", "title", "passages", "added")
    for item in found:
        table.add_row(item["source"], item["title"], str(item["passages"]), str(item["added_at"])[:19])
    Console().print(table if found else f"{collection} holds no documents.")


@app.command()
def query(
    context: typer.Context,
    collection: _Collection,
    text: Annotated[str, typer.Argument(help="A question as a caller would ask it.")],
    limit: Annotated[int, typer.Option(min=1, max=50, help="How many passages.")] = 4,
) -> None:
    """Show which passages a question finds, best first."""
    settings = settings_of(context)
    found = _ask(
        settings,
        "POST",
        f"/internal/kb/{collection}/query",
        lambda base: {"passages": [dataclasses.asdict(item) for item in base.query(collection, text, limit)]},
        body={"text": text, "limit": limit},
    )["passages"]
    for passage in found:
        print(f"{passage['score']:.2f}  {passage['source']}  {passage['title']}\n      {passage['text']}")
    if not found:
        print("Nothing found.")


@app.command()
def remove(
    context: typer.Context,
    collection: _Collection,
    source: Annotated[str, typer.Argument(help="Source as `landline kb list` shows it.")],
) -> None:
    """Forget a document."""
    settings = settings_of(context)
    answer = _ask(
        settings,
        "DELETE",
        f"/internal/kb/{collection}/documents",
        lambda base: {"passages": base.remove(collection, source)},
        query={"source": source},
    )
    if not answer["passages"]:
        raise LandlineError(f"no document {source}; expected a source as `landline kb list` shows it")
    print(f"{source} is forgotten ({answer['passages']} passages).")


def _ask(
    settings: Settings,
    method: str,
    path: str,
    otherwise: Callable[[KnowledgeBase], dict[str, Any]],
    *,
    body: object = None,
    query: dict[str, str | int] | None = None,
) -> dict[str, Any]:
    """Ask the running owner, or, where none runs, own the index for a moment."""
    from kb import KnowledgeBase, KnowledgeError

    try:
        found: dict[str, Any] = ask_control(
            settings, method, path, body=body, query=query, limit_s=_ADD_LIMIT_S
        )
        return found
    except ControlUnavailable:
        pass
    try:
        with KnowledgeBase.open(
            settings.knowledge_directory,
            _LazyEmbedding(settings),
            lock_timeout_s=settings.knowledge.lock_timeout_s,
            model=settings.embedding_name,
        ) as base:
            return otherwise(base)
    except KnowledgeError as error:
        raise LandlineError(str(error)) from None


class _LazyEmbedding:
    """Loads the embedding model at the first text: listing and removing need none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._embed: Callable[[list[str]], Any] | None = None

    def __call__(self, texts: Sequence[str], /) -> Any:
        """Return ``[len(texts), dimensions]``."""
        if self._embed is None:
            from models.errors import ModelError
            from models.model_store import verify
            from models.speech_worker import Embeddings

            own = self._settings.knowledge.embedding_model_path
            try:
                path = own or verify(
                    self._settings.knowledge.embedding_model, self._settings.models_directory
                )
                self._embed = Embeddings(path).embed
            except ModelError as error:
                raise LandlineError(str(error)) from None
        return self._embed(list(texts))
