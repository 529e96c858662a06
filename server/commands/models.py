"""``landline models``: fetch, verify and bundle the weights. Nothing is fetched anywhere else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.context import settings_of
from server.errors import LandlineError

if TYPE_CHECKING:
    from models.fetch import Sources
    from server.config import Settings

app = typer.Typer(help="The models: which there are, fetch, verify, bundle.", no_args_is_help=True)

_Names = Annotated[list[str] | None, typer.Argument(help="Names; otherwise those that the settings need.")]


@app.command("list")
def list_models(context: typer.Context) -> None:
    """List the catalogue, and what of it is here."""
    from rich.console import Console
    from rich.table import Table

    from models import catalogue

    settings = settings_of(context)
    needed = _needed(settings)
    table = Table("name", "for", "what", "licence", "size", "needed", "here")
    for model in catalogue.MODELS.values():
        table.add_row(
            model.name,
            model.kind.value,
            model.title,
            model.licence,
            f"{model.size / 1e6:.0f} MB",
            "yes" if model.name in needed else "",
            _state(model.name, settings),
        )
    Console().print(table)


@app.command()
def fetch(context: typer.Context, names: _Names = None) -> None:
    """Fetch models into the cache; what is there and right is left alone."""
    from models.errors import ModelError
    from models.fetch import RichFetchProgress, ensure

    settings = settings_of(context)
    wanted = names or list(_needed(settings))
    settings.models_directory.mkdir(parents=True, exist_ok=True)
    try:
        with RichFetchProgress() as progress:
            ensure(wanted, settings.models_directory, _sources(settings), progress)
    except ModelError as error:
        raise LandlineError(str(error)) from None
    print(f"{len(wanted)} models are in {settings.models_directory}.")


@app.command()
def verify(context: typer.Context, names: _Names = None) -> None:
    """Hash every file and compare it with the catalogue."""
    from models.errors import ModelError
    from models.model_store import verify as check

    settings = settings_of(context)
    failed = False
    for name in names or _needed(settings):
        try:
            check(name, settings.models_directory, trust_stamp=False)
            print(f"{name}: unaltered")
        except ModelError as error:
            failed = True
            print(f"{name}: {error}")
    if failed:
        raise typer.Exit(1)


@app.command()
def bundle(
    context: typer.Context,
    target: Annotated[Path, typer.Argument(help="Archive to write, for a machine without a network.")],
    names: _Names = None,
) -> None:
    """Write the models into one archive; set models.bundle to it on the other machine."""
    from models.errors import ModelError
    from models.fetch import make_bundle

    settings = settings_of(context)
    try:
        path = make_bundle(names or list(_needed(settings)), settings.models_directory, target)
    except ModelError as error:
        raise LandlineError(str(error)) from None
    except OSError as error:
        raise LandlineError(f"{target}: {error.strerror}; expected a place to write the archive to") from None
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB")


def _needed(settings: Settings) -> tuple[str, ...]:
    from server.process_configs import default_models

    return default_models(settings)


def _state(name: str, settings: Settings) -> str:
    from models.errors import ModelError
    from models.model_store import verify as check

    if not (settings.models_directory / name).is_dir():
        return ""
    try:
        check(name, settings.models_directory)
    except ModelError:
        return "incomplete or altered"
    return "yes"


def _sources(settings: Settings) -> Sources:
    from models.fetch import Sources

    models = settings.models
    return Sources(
        order=models.sources, directory=models.directory, bundle=models.bundle, mirror=models.mirror
    )
