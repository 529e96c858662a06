"""``landline agent``: is an agent's folder in order?"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from server.errors import ConfigurationError

app = typer.Typer(help="The agent: its file and documents.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep ``check`` a subcommand of its own."""


@app.command()
def check(folder: Annotated[Path, typer.Argument(help="Folder that holds agent.yaml.")]) -> None:
    """Read the agent file and name what is wrong, with line and field."""
    from server.dialogue.agent_file import load_agent
    from server.dialogue.errors import AgentFileError
    from server.dialogue.tools import open_tools

    try:
        agent = load_agent(folder)
        with tempfile.TemporaryDirectory() as scratch:
            open_tools(
                folder,
                agent.tools.module,
                Path(scratch) / "tools.sqlite3",
                today=datetime.now().astimezone().date(),
            ).close()
    except AgentFileError as error:
        raise ConfigurationError(str(error)) from None
    documents = folder / agent.knowledge.documents
    count = sum(1 for path in documents.rglob("*") if path.is_file()) if documents.is_dir() else 0
    print(
        f"{agent.name}: in order; {len(agent.tasks)} tasks, {len(agent.answers)} fixed answers, {count} documents"
    )
