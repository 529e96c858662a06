"""What reaches each process of the settings, read back by that process's own reader."""

from __future__ import annotations

import dataclasses
import json
import stat
from pathlib import Path

import pytest

from models.worker_config import LlmServerConfig, PiperWorkerConfig, SpeechWorkerConfig
from models.worker_config import read_config as read_worker
from server.agent.config import read_config as read_agent_config
from server.config import Settings, load_settings
from server.control.config import read_config as read_control
from server.errors import ConfigurationError
from server.preflight import read_agent
from server.process_configs import AgentIdentity, ProcessConfigs, build, default_models, write_config
from sip.config import load as load_sip
from sip.websocket.config import load as load_websocket

IDENTITY = AgentIdentity(
    "clinic", "clinic-pages", "sip:desk@example.org", "", Path("/documents"), ("You are",)
)


def settings(**environment: str) -> Settings:
    return load_settings(
        environment={
            "LANDLINE_RUN_DIRECTORY": "/run/landline",
            "LANDLINE_DATA_DIRECTORY": "/srv/landline",
            "LANDLINE_CACHE_DIRECTORY": "/var/cache/landline",
            **{f"LANDLINE_{name}": value for name, value in environment.items()},
        }
    )


def built(**environment: str) -> ProcessConfigs:
    return build(settings(**environment), IDENTITY, llm_port=4321)


def test_every_process_reads_its_own_configuration_back(tmp_path: Path) -> None:
    configs = built(SIP__CALL_LIMIT="3", TURNS__ENDPOINT_SILENCE_MS="600")
    for name, config in dataclasses.asdict(configs).items():
        if isinstance(config, dict):
            write_config(tmp_path / f"{name}.json", getattr(configs, name))
    assert load_sip(str(tmp_path / "sip.json")) == configs.sip
    assert read_agent_config(tmp_path / "agent.json") == configs.agent
    assert read_control(tmp_path / "control.json") == configs.control
    assert read_worker(SpeechWorkerConfig, tmp_path / "speech.json") == configs.speech
    assert read_worker(PiperWorkerConfig, tmp_path / "tts.json") == configs.tts
    assert read_worker(LlmServerConfig, tmp_path / "llm.json") == configs.llm
    assert (configs.sip.call_limit, configs.agent.capacity) == (3, 3)
    assert configs.agent.turns.endpoint_silence_ms == 600


def test_processes_meet_at_the_same_sockets() -> None:
    configs = built()
    assert configs.agent.leg_sockets == {"sip": configs.sip.leg_socket}
    assert configs.control.sip_status_socket == configs.sip.status_socket
    assert configs.agent.control_socket == configs.control.control_socket
    assert configs.agent.speech_socket == configs.control.speech_socket == str(configs.speech.socket)
    assert configs.agent.tts_socket == configs.control.tts_socket == str(configs.tts.socket)
    assert configs.llm is not None
    assert (
        configs.agent.llm_base_url
        == configs.control.llm_base_url
        == f"http://127.0.0.1:{configs.llm.port}/v1"
    )
    assert configs.control.llm_ready_file == str(configs.llm.ready_file)


def test_the_websocket_door_is_shut_unless_opened(tmp_path: Path) -> None:
    configs = built()
    assert configs.websocket is None
    assert list(configs.agent.leg_sockets) == ["sip"]
    assert configs.control.websocket_status_socket == ""
    configs = built(
        WEBSOCKET__ENABLED="true",
        WEBSOCKET__TOKEN="tiger",
        WEBSOCKET__HOST="0.0.0.0",
        WEBSOCKET__CALL_LIMIT="7",
    )
    assert configs.websocket is not None
    write_config(tmp_path / "websocket.json", configs.websocket)
    assert load_websocket(str(tmp_path / "websocket.json")) == configs.websocket
    assert configs.websocket.token == "tiger"
    assert configs.agent.leg_sockets["websocket"] == configs.websocket.leg_socket
    assert configs.control.websocket_status_socket == configs.websocket.status_socket
    assert configs.agent.capacity == 7


def test_the_websocket_door_asks_strangers_for_a_token() -> None:
    with pytest.raises(
        ConfigurationError, match=r"websocket: host 0\.0\.0\.0 can be reached by others; expected a token"
    ):
        settings(WEBSOCKET__ENABLED="true", WEBSOCKET__HOST="0.0.0.0")


def test_a_server_of_ones_own_replaces_the_embedded_one() -> None:
    configs = built(
        LLM__MODE="openai",
        LLM__BASE_URL="http://gpu:8000/v1/",
        LLM__SERVED_MODEL="llama",
        LLM__API_KEY="tiger",
    )
    assert configs.llm is None
    assert configs.agent.llm_base_url == "http://gpu:8000/v1"
    assert (configs.agent.llm_model, configs.agent.llm_adapter, configs.agent.llm_api_key) == (
        "llama",
        "native",
        "tiger",
    )
    assert "qwen2.5-coder-1.5b" not in default_models(
        settings(LLM__MODE="openai", LLM__BASE_URL="http://x", LLM__SERVED_MODEL="y")
    )


def test_a_person_named_by_the_agent_goes_before_the_one_of_the_settings() -> None:
    assert built(SIP__HANDOFF_TARGET="sip:other@example.org").agent.handoff_target == "sip:desk@example.org"


def test_models_of_ones_own_need_not_be_in_the_catalogue() -> None:
    own = settings(SPEECH__MODEL_PATH="/m/whisper", TTS__VOICE_PATH="/m/v.onnx", LLM__MODEL_PATH="/m/x.gguf")
    assert default_models(own) == ("silero-vad", "smart-turn", "minilm")
    configs = build(own, IDENTITY, llm_port=1)
    assert (configs.speech.stt_path, configs.speech.stt_name) == (Path("/m/whisper"), "")
    assert (configs.tts.voice_path, configs.tts.voice_name) == (Path("/m/v.onnx"), "")


def test_a_configuration_with_a_key_is_for_the_owner_only(tmp_path: Path) -> None:
    write_config(tmp_path / "agent.json", built(LLM__API_KEY="tiger").agent)
    assert stat.S_IMODE((tmp_path / "agent.json").stat().st_mode) == 0o600
    assert json.loads((tmp_path / "agent.json").read_text())["llm_api_key"] == "tiger"


def test_a_run_directory_too_long_for_sockets_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"run_directory.*at most 107"):
        built(RUN_DIRECTORY=f"/run/{'x' * 120}")


def test_the_sample_agent_says_who_it_is_and_what_to_keep_warm() -> None:
    clinic = read_agent(load_settings(environment={}))
    assert (clinic.name, clinic.documents.is_dir()) == ("clinic", True)
    (system,) = clinic.system_messages
    assert "end_call" in system
    native = {
        "LANDLINE_LLM__MODE": "openai",
        "LANDLINE_LLM__BASE_URL": "http://x",
        "LANDLINE_LLM__SERVED_MODEL": "y",
    }
    assert read_agent(load_settings(environment=native)).system_messages == ()
