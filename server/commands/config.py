"""``landline config``: what the settings are, and what they could be."""

from __future__ import annotations

import typer

from server.commands.context import settings_of

app = typer.Typer(help="The settings.", no_args_is_help=True)


@app.command()
def show(context: typer.Context) -> None:
    """Print the settings in force, secrets hidden."""
    import yaml

    settings = settings_of(context)
    print(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True), end="")


@app.command()
def example() -> None:
    """Print an annotated settings file with all defaults."""
    from server.example_settings import example_yaml

    print(example_yaml(), end="")
