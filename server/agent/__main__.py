"""``python -m server.agent CONFIG.json [--spare]``: the agent process.

With ``--spare`` everything is loaded and then nothing is done until the line ``go`` arrives on stdin, so
that a killed or hung agent is replaced at once. Afterwards stdin is the lifeline. The line ``beat`` goes
to stdout from the loop that does the work: a supervisor that misses it knows that the process hangs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import uvloop

from models.echo_canceller import WebRtcEchoCanceller
from models.errors import ModelError
from models.llm_client import LlmEndpoint
from models.llm_gate import GatedModel
from models.native_tools import NativeTools
from models.protocols import LanguageModel
from models.speech_client import PiperClient, SpeechWorkerClient
from models.structured_actions import StructuredActions
from models.vad import SileroVad
from server import lifeline, telemetry
from server.agent.config import AgentConfigError, AgentProcessConfig, read_config
from server.agent.process import AgentProcess, ProcessModels, rates_of
from server.dialogue.agent_file import load_agent
from server.errors import LandlineError

_BEAT_S = 0.25
_STDIN = 0
_EXIT_BAD_CONFIGURATION = 2

_log = logging.getLogger(__name__)


def _language_model(config: AgentProcessConfig) -> LanguageModel:
    endpoint = LlmEndpoint(
        config.llm_base_url,
        config.llm_model,
        api_key=config.llm_api_key,
        llama_cpp=config.llm_adapter == "structured",
    )
    if config.llm_adapter == "native":
        return NativeTools(endpoint)
    return GatedModel(StructuredActions(endpoint), slots=config.llm_slots)


async def _go() -> bool:
    """Wait for the line ``go``; false when stdin ends first, because the supervisor is gone."""
    # Unbuffered: what follows the line belongs to the lifeline.
    word = await asyncio.get_running_loop().run_in_executor(None, os.read, _STDIN, 64)
    return word.strip() == b"go"


async def _beat() -> None:
    out = sys.stdout
    while True:
        out.write("beat\n")
        out.flush()
        await asyncio.sleep(_BEAT_S)


async def _run(config: AgentProcessConfig, *, spare: bool) -> None:
    agent = load_agent(Path(config.agent_folder))
    speech = SpeechWorkerClient(Path(config.speech_socket))
    models = ProcessModels(
        vads={rate: SileroVad(Path(config.vad_model), rate_hz=rate) for rate in rates_of(config)},
        stt=speech,
        turn_detector=speech if config.turn_detector else None,
        tts=PiperClient(Path(config.tts_socket)),
        llm=_language_model(config),
        make_echo_canceller=WebRtcEchoCanceller if config.echo_cancellation else None,
    )
    process = AgentProcess(config, agent, models)
    await process.prepare()
    beats = asyncio.create_task(_beat())
    if not spare or await _go():
        stop = asyncio.Event()
        lifeline.watch(stop)
        await process.serve(stop)
    beats.cancel()


def main() -> int:
    """Run until told to stop."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--spare"]
    if len(arguments) != 1:
        print("usage: python -m server.agent CONFIG.json [--spare]", file=sys.stderr)
        return _EXIT_BAD_CONFIGURATION
    telemetry.configure("agent")
    try:
        config = read_config(Path(arguments[0]))
        uvloop.run(_run(config, spare="--spare" in sys.argv))
    except (AgentConfigError, LandlineError) as error:
        print(f"agent: {error}", file=sys.stderr)
        return _EXIT_BAD_CONFIGURATION
    except ModelError as error:
        _log.error("agent_not_started", extra={"error": type(error).__name__})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
