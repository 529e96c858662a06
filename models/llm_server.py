"""LLM server process: llama.cpp behind OpenAI-compatible HTTP on the loopback, warm before it counts as ready.

Run as ``python -m models.llm_server CONFIG.json``. It is ready when the file ``ready_file`` of its configuration
appears: one JSON object with ``port``, ``slots`` and ``model``. Until then llama.cpp may already answer, but cold.

Warming: prefill is the scarce thing on a CPU, so every system message of ``warm_prefixes`` is prefilled once into slot 0
and copied into the other slots through a state file. With ``state_directory`` that file outlives the process and the
next start does not prefill at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import httpx

from models.errors import ModelFileError, WorkerConfigError
from models.model_store import verify_named
from models.worker_config import LlmServerConfig
from models.worker_process import run_worker

# llama.cpp's threads wait for each other in OpenMP, whose default is to spin for a millisecond: on a busy machine the one
# that spins keeps the core from the one it waits for (measured: 4 to 20 times slower). Read when the library is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import xllamacpp

logger = logging.getLogger("models.llm")

_WARM_TIMEOUT_S: Final = 300.0
_STATES_KEPT: Final = 8
_QUIET: Final = 1
"""llama.cpp's own log: errors only, since its more talkative levels print prompts."""


def parameters(config: LlmServerConfig) -> Any:
    """Return llama.cpp's parameters for ``config``."""
    params = xllamacpp.CommonParams()
    params.model.path = str(config.model_path)
    params.model_alias = {config.model_name or config.model_path.stem}
    params.hostnames = [config.host]
    params.port = config.port
    params.n_parallel = config.slots
    params.n_ctx = config.context_tokens * config.slots
    params.kv_unified = False
    # A cancel is noticed between two decodes, and a decode takes n_batch tokens: both must be small.
    params.n_batch = config.micro_batch_tokens
    params.n_ubatch = config.micro_batch_tokens
    params.cpuparams.n_threads = config.threads
    params.cpuparams_batch.n_threads = config.threads
    # Spinning threads would take the core of the 20 ms ticker. This is for builds without OpenMP; see GOMP_SPINCOUNT.
    params.cpuparams.poll = 0
    params.cpuparams_batch.poll = 0
    # The CPU's own layout of the weights is a copy; with the file mapped besides, both would be resident.
    params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.n_gpu_layers = config.gpu_layers
    params.fit_params = False
    # Slots are pinned to calls and keep their own prefix; a second cache in memory would only cost memory.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.n_threads_http = max(4, config.slots + 2)
    params.ui = False
    params.endpoint_slots = True
    params.offline = True
    params.verbosity = _QUIET
    if config.state_directory is not None:
        params.slot_save_path = f"{config.state_directory}/"
    return params


async def serve(config: LlmServerConfig, stop: asyncio.Event) -> None:
    """Load, warm, announce, and wait for ``stop``."""
    check_config(config)
    if config.ready_file is not None:
        config.ready_file.unlink(missing_ok=True)
    began = time.monotonic()
    server = await asyncio.to_thread(xllamacpp.Server, parameters(config))
    address = server.listening_address
    logger.info("llm_loaded", extra={"duration_ms": _since(began)})
    warming = asyncio.create_task(_warm(config, str(address)))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((warming, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            await warming
            _announce(config, str(address))
            logger.info("llm_ready", extra={"duration_ms": _since(began)})
            await stopping
    finally:
        for task in (warming, stopping):
            task.cancel()
        if config.ready_file is not None:
            config.ready_file.unlink(missing_ok=True)


def check_config(config: LlmServerConfig) -> None:
    """Raise what is wrong with the configuration before anything is loaded."""
    if config.model_name:
        verify_named(config.model_name, config.model_path)
    elif not config.model_path.is_file():
        raise ModelFileError(f"{config.model_path} is missing; expected a GGUF file")
    if config.slots < 1 or config.micro_batch_tokens < config.slots:
        raise WorkerConfigError(
            f"slots {config.slots} and micro_batch_tokens {config.micro_batch_tokens};"
            " expected at least one slot and a micro-batch no smaller than that"
        )
    if config.state_directory is not None:
        config.state_directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def _announce(config: LlmServerConfig, address: str) -> None:
    if config.ready_file is None:
        return
    draft = config.ready_file.with_name(f"{config.ready_file.name}.{os.getpid()}")
    state = {
        "port": _port(address),
        "slots": config.slots,
        "model": config.model_name or config.model_path.stem,
    }
    draft.write_text(json.dumps(state), encoding="ascii")
    draft.replace(config.ready_file)


def _port(address: str) -> int:
    return int(address.rstrip("/").rsplit(":", 1)[1])


async def _warm(config: LlmServerConfig, address: str) -> None:
    """Put every prefix into every slot."""
    async with httpx.AsyncClient(base_url=address, timeout=_WARM_TIMEOUT_S, trust_env=False) as client:
        for prefix in config.warm_prefixes:
            name = _state_name(config, prefix)
            kept = config.state_directory is not None and await _restore(client, 0, name)
            if not kept:
                await _prefill(client, 0, prefix)
                if config.state_directory is not None:
                    await _save(client, name)
            for slot in range(1, config.slots):
                if config.state_directory is None or not await _restore(client, slot, name):
                    await _prefill(client, slot, prefix)
            logger.info("llm_warm", extra={"restored": bool(kept)})
    if config.state_directory is not None:
        prune_states(config.state_directory)


def prune_states(folder: Path) -> None:
    """Delete all but the newest states: every edit of an agent's file makes a new one of some 20 MB."""
    states = sorted(folder.glob("prefix-*.state"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in states[_STATES_KEPT:]:
        path.unlink(missing_ok=True)


def _state_name(config: LlmServerConfig, prefix: str) -> str:
    """A state fits one model file, one build of llama.cpp, one context size and one prefix."""
    status = config.model_path.stat()
    key = "|".join(
        map(str, (config.model_path, status.st_size, status.st_mtime_ns, xllamacpp.__version__,
                  config.context_tokens, config.slots, prefix))
    )  # fmt: skip
    return f"prefix-{hashlib.sha256(key.encode()).hexdigest()[:24]}.state"


async def _prefill(client: httpx.AsyncClient, slot: int, prefix: str) -> None:
    body = {
        "messages": [{"role": "system", "content": prefix}, {"role": "user", "content": "Hello"}],
        "max_tokens": 1,
        "id_slot": slot,
        "cache_prompt": True,
    }
    response = await client.post("/v1/chat/completions", json=body)
    response.raise_for_status()


async def _save(client: httpx.AsyncClient, name: str) -> None:
    response = await client.post("/slots/0", params={"action": "save"}, json={"filename": name})
    response.raise_for_status()


async def _restore(client: httpx.AsyncClient, slot: int, name: str) -> bool:
    response = await client.post(f"/slots/{slot}", params={"action": "restore"}, json={"filename": name})
    return response.status_code == 200


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


if __name__ == "__main__":
    sys.exit(run_worker("llm", LlmServerConfig, serve))
