"""A Pipecat bot behind a raw PCM16 WebSocket, for the comparison: ``python -m scripts.peer.pipecat_bot CONFIG.json``.

Runs in an environment of its own (``scripts/peer/requirements.txt``). One call at a time: ``/v1/call/NAME`` names
the settings of :mod:`scripts.peer.variants`. Binary messages are PCM16 at 16 kHz both ways; an interruption is told to
the caller as ``{"event": "clear"}``, since the peer sends faster than real time and its caller holds a buffer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.turn.smart_turn.base_smart_turn import SmartTurnParams
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    TranscriptionFrame,
    TTSSpeakFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.piper.tts import PiperTTSService
from pipecat.services.whisper.stt import WhisperSTTService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_stop import TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.utils.time import time_now_iso8601
from pipecat.workers.runner import WorkerRunner

from models.whisper import ShortWhisper
from scripts.peer.variants import Variant, variant

RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class BotConfig:
    """What the benchmark hands over."""

    port: int
    llm_base_url: str
    llm_model: str
    system: str
    greeting: str
    whisper: str
    """Folder of the CTranslate2 model."""
    voice: str
    """``.onnx`` file of the Piper voice."""
    max_tokens: int


class RawPcm(FrameSerializer):  # type: ignore[misc]
    """PCM16 as it is, and ``clear`` where the bot is interrupted."""

    async def serialize(self, frame: Frame) -> str | bytes | None:
        """Return the message for a frame, None where there is none."""
        if isinstance(frame, OutputAudioRawFrame):
            return bytes(frame.audio)
        if isinstance(frame, InterruptionFrame):
            return json.dumps({"event": "clear"})
        return None

    async def deserialize(self, data: str | bytes) -> Frame | None:
        """Return the caller's audio; text says nothing to the bot."""
        if isinstance(data, str):
            return None
        return InputAudioRawFrame(audio=data, sample_rate=RATE_HZ, num_channels=1)


class ShortWhisperService(WhisperSTTService):  # type: ignore[misc]
    """The peer's service with Landline's short-encoder recogniser behind it."""

    def _load(self) -> None:
        self._short = ShortWhisper(
            Path(str(self._settings.model)), device="cpu", compute_type="int8", threads=2, language="en"
        )

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame, None]:
        """Transcribe one segment."""
        clip = np.frombuffer(audio, np.int16).astype(np.float32) / 32768.0
        (transcript,) = await asyncio.to_thread(self._short.transcribe, [clip])
        if transcript.text:
            yield TranscriptionFrame(transcript.text, self._user_id, time_now_iso8601(), None)


def recogniser(config: BotConfig, chosen: Variant) -> WhisperSTTService:
    """Return the speech-to-text service of a variant."""
    kind = ShortWhisperService if chosen.short_encoder else WhisperSTTService
    service = kind(
        device="cpu",
        compute_type="int8",
        trailing_silence_secs=chosen.trailing_silence_s,
        settings=WhisperSTTService.Settings(model=config.whisper, language="en"),
    )
    if chosen.greedy and not chosen.short_encoder:
        model: Any = service._model
        model.transcribe = partial(
            model.transcribe, beam_size=1, without_timestamps=True, condition_on_previous_text=False
        )
    return service


async def run_call(websocket: WebSocket, config: BotConfig, chosen: Variant) -> None:
    """Hold one call. Models are loaded before it is answered."""
    stt = await asyncio.to_thread(recogniser, config, chosen)
    voice = Path(config.voice)
    tts = await asyncio.to_thread(
        PiperTTSService, download_dir=voice.parent, settings=PiperTTSService.Settings(voice=voice.stem)
    )
    llm = OpenAILLMService(
        api_key="none",
        base_url=config.llm_base_url,
        settings=OpenAILLMService.Settings(
            model=config.llm_model,
            system_instruction=config.system,
            temperature=0.0,
            max_tokens=config.max_tokens,
            extra={"extra_body": {"id_slot": 0, "cache_prompt": True}},
        ),
    )
    vad = VADParams(start_secs=chosen.vad_start_s, stop_secs=chosen.vad_stop_s)
    turn = LocalSmartTurnAnalyzerV3(params=SmartTurnParams(stop_secs=chosen.turn_stop_s))
    aggregators = LLMContextAggregatorPair(
        LLMContext(),
        user_params=LLMUserAggregatorParams(
            vad_analyzer=SileroVADAnalyzer(params=vad),
            user_turn_strategies=UserTurnStrategies(
                stop=[TurnAnalyzerUserTurnStopStrategy(turn_analyzer=turn)]
            ),
        ),
    )
    await websocket.accept()
    transport = FastAPIWebsocketTransport(
        websocket=websocket,
        params=FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            audio_out_10ms_chunks=chosen.output_10ms_chunks,
            serializer=RawPcm(),
        ),
    )
    pipeline = Pipeline(
        [
            transport.input(),
            stt,
            aggregators.user(),
            llm,
            tts,
            transport.output(),
            aggregators.assistant(),
        ]
    )
    worker = PipelineWorker(
        pipeline,
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
        enable_rtvi=False,
    )

    @transport.event_handler("on_client_connected")  # type: ignore[untyped-decorator]
    async def greet(_transport: object, _client: object) -> None:
        await worker.queue_frames([TTSSpeakFrame(config.greeting)])

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
    async def end(_transport: object, _client: object) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


def application(config: BotConfig) -> FastAPI:
    """Return the server."""
    app = FastAPI()

    @app.get("/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.websocket("/v1/call/{name}")
    async def call(websocket: WebSocket, name: str) -> None:
        await run_call(websocket, config, variant(name))

    return app


def main() -> None:
    """Serve until killed."""
    config = BotConfig(**json.loads(Path(sys.argv[1]).read_text()))
    logger.remove()
    logger.add(sys.stderr, level=sys.argv[2] if len(sys.argv) > 2 else "WARNING")
    uvicorn.run(application(config), host="127.0.0.1", port=config.port, log_level="warning")


if __name__ == "__main__":
    main()
