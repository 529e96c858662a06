"""The prompt prefix that the embedded language model holds warm, exactly as the agent's adapter will send it."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

from models.action_format import chat_messages
from server.dialogue.agent_file import Agent
from server.dialogue.engine import warm_prefix
from server.dialogue.tools import open_tools


def system_message(agent: Agent) -> str:
    """Return the system message of ``agent`` with its tools. Raises AgentFileError when they do not load."""
    today = datetime.now().astimezone().date()
    with tempfile.TemporaryDirectory() as scratch:
        # A database that is thrown away: only what the tools are called and take is wanted.
        tools = open_tools(agent.folder, agent.tools.module, Path(scratch) / "tools.sqlite3", today=today)
        request = warm_prefix(agent, tools)
        tools.close()
    content = chat_messages(request.messages, request.tools)[0]["content"]
    return str(content)
