"""Talk to an agent by typing: the same dialogue as on the telephone, without the telephone.

The knowledge base is built from the agent's documents in a temporary folder, the tools work on a temporary database.
Without ``--llm`` a turn that would need the language model says so.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kb.knowledge_base import KnowledgeBase
from models.errors import LanguageModelUnavailable
from models.llm_client import LlmEndpoint
from models.native_tools import NativeTools
from models.protocols import ChatRequest, LanguageModel, ReplyEnd, ReplyItem
from models.speech_worker import Embeddings
from models.structured_actions import StructuredActions
from server.config import Settings
from server.dialogue.agent_file import Agent, load_agent
from server.dialogue.engine import Dialogue, Services
from server.dialogue.knowledge import Knowledge, NoKnowledge, Passage
from server.dialogue.replies import EffectStarts, EndCall, HandOff, Heard, Role, Say, ToolRan
from server.dialogue.tools import open_tools
from server.errors import LandlineError


class NoLanguageModel:
    """Stands where no server was named."""

    async def reply(self, request: ChatRequest) -> AsyncGenerator[ReplyItem, None]:
        """Refuse."""
        if request.messages:
            raise LanguageModelUnavailable("no --llm given; expected the base URL of a server")
        yield ReplyEnd()


@dataclass
class LocalKnowledge:
    """The agent's documents in an index of this process's own."""

    base: KnowledgeBase
    collection: str

    async def query(self, text: str, limit: int) -> Sequence[Passage]:
        """Return passages, best first."""
        found = await asyncio.to_thread(self.base.query, self.collection, text, limit)
        return [Passage(item.text, item.source, item.title, item.score) for item in found]


@contextmanager
def local_knowledge(agent: Agent, embedding_model: Path | None, folder: Path) -> Iterator[Knowledge]:
    """Embed the agent's documents; without the embedding model there is no knowledge."""
    if embedding_model is None or not embedding_model.is_dir():
        yield NoKnowledge()
        return
    embeddings = Embeddings(embedding_model)
    with KnowledgeBase.open(folder / "index", lambda texts: embeddings.embed(list(texts))) as base:
        base.add(agent.collection, [agent.folder / agent.knowledge.documents])
        yield LocalKnowledge(base, agent.collection)


def language_model(url: str, adapter: str, name: str) -> LanguageModel:
    """Return the adapter for a server, or a refusal where none was named."""
    if not url:
        return NoLanguageModel()
    endpoint = LlmEndpoint(url, name, llama_cpp=adapter == "structured")
    return StructuredActions(endpoint) if adapter == "structured" else NativeTools(endpoint)


def embedding_folder() -> Path:
    """Return where ``landline models fetch`` puts the default embedding model."""
    return Settings().models_directory / "minilm"


async def converse(dialogue: Dialogue) -> None:
    """Read lines until the call ends."""
    print(f"agent: {dialogue.greeting()}")
    while line := await asyncio.to_thread(sys.stdin.readline):
        began, first = time.perf_counter(), 0.0
        said: list[str] = []
        key = line.strip()
        heard = Heard(key, "dtmf") if len(key) == 1 and key in "0123456789*#" else Heard(key)
        async for reply in dialogue.respond(heard, now=datetime.now().astimezone()):
            first = first or time.perf_counter() - began
            match reply:
                case Say(text=text, role=role, turn_class=turn_class, sources=sources):
                    said += [text] if role is Role.CONTENT else []
                    note = f"{turn_class}, {first:.2f} s" + (f", {', '.join(sources)}" if sources else "")
                    print(f"agent: {text}   [{role}, {note}]")
                case ToolRan(tool=tool, arguments=arguments, outcome=outcome):
                    print(f"       tool {tool} {dict(arguments)}: {outcome}")
                case EffectStarts():
                    pass
                case HandOff(reason=reason):
                    print(f"       hand-off: {reason}")
                case EndCall(reason=reason):
                    print(f"       end of call: {reason}")
                    return
        dialogue.played(" ".join(said))


async def run(options: argparse.Namespace) -> None:
    """Set everything up, talk, put everything away."""
    agent = load_agent(options.agent)
    with tempfile.TemporaryDirectory(prefix="landline-chat-") as folder:
        today = datetime.now().astimezone().date()
        tools = open_tools(agent.folder, agent.tools.module, Path(folder) / "tools.db", today=today)
        with local_knowledge(agent, options.embeddings, Path(folder)) as knowledge:
            llm = language_model(options.llm, options.adapter, options.model)
            await converse(Dialogue(agent, Services(llm, knowledge, tools), call_id="chat"))
        tools.close()


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--agent", type=Path, default=Path("server/samples/clinic"), help="the agent's folder"
    )
    parser.add_argument("--llm", default="", help="OpenAI-compatible base URL, ending in /v1")
    parser.add_argument("--adapter", choices=("structured", "native"), default="structured")
    parser.add_argument("--model", default="", help="name that the server knows")
    parser.add_argument(
        "--embeddings", type=Path, default=embedding_folder(), help="folder of the embedding model"
    )
    try:
        asyncio.run(run(parser.parse_args()))
    except LandlineError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
