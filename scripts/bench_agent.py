"""The sample clinic with one slow tool added, so that a benchmark can hear a filler.

The tool asks nothing of the language model: the prompt, and with it the warm prefix, is the sample's.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from server.config import SAMPLE_AGENT

SLOW_MS: Final = 1_500
_TOOL: Final = f'''

@tool(effect="read", slow=True, offered=False, filler="One moment, I'll ask the waiting room.")
def waiting_time(context: ToolContext) -> ToolResult:
    """Tell how long people wait today."""
    import time as clock

    clock.sleep({SLOW_MS / 1000})
    return ToolResult("known")
'''
_TASK: Final = """
  waiting_time:
    triggers:
      - waiting time
      - how long ... wait|waiting
    tool: waiting_time
    slots: {}
    outcomes:
      known: {say: "People wait about twenty minutes today.", then: answered}
"""


def make_agent(directory: Path) -> Path:
    """Write the agent's folder below ``directory`` and return it."""
    folder = directory / "clinic"
    shutil.copytree(SAMPLE_AGENT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "tools.py").open("a", encoding="utf-8") as tools:
        tools.write(_TOOL)
    text = (folder / "agent.yaml").read_text(encoding="utf-8")
    (folder / "agent.yaml").write_text(text.rstrip() + "\n" + _TASK, encoding="utf-8")
    return folder
