"""The ``landline`` command. Each subcommand imports what it needs when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from server.commands import agent, bench, calls, config, kb, models, tune
from server.commands.context import Context, fail
from server.errors import LandlineError

app = typer.Typer(
    name="landline",
    help="Landline answers the telephone, on your own hardware.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(models.app, name="models")
app.add_typer(kb.app, name="kb")
app.add_typer(calls.app, name="calls")
app.add_typer(agent.app, name="agent")
app.add_typer(config.app, name="config")
app.add_typer(bench.app, name="bench")
app.command("tune")(tune.tune)


@app.callback()
def settings_file(
    context: typer.Context,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Settings file; otherwise LANDLINE_CONFIG, ./landline.yaml or the user's."
        ),
    ] = None,
) -> None:
    """Take the options that all commands share."""
    context.obj = Context(config_file)


@app.command()
def serve(context: typer.Context) -> None:
    """Answer calls, in the foreground, until Ctrl-C."""
    from server.supervisor import serve as run

    settings = context.find_object(Context)
    assert settings is not None
    raise typer.Exit(run(settings.settings(), lambda text: print(text, flush=True)))


@app.command()
def doctor(context: typer.Context) -> None:
    """Check models, ports, directories, the agent file and the programs that tests use."""
    from server.commands.doctor import examine

    settings = context.find_object(Context)
    assert settings is not None
    raise typer.Exit(examine(settings.settings()))


def main() -> None:
    """Run the command; an error that a person can mend is one line and no traceback."""
    try:
        app()
    except LandlineError as error:
        fail(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
