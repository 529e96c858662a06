from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import WorkerConfigError
from models.worker_config import LlmServerConfig, SpeechWorkerConfig, config_from, read_config


def test_a_configuration_is_read_with_its_types() -> None:
    config = config_from(
        LlmServerConfig, {"model_path": "/m.gguf", "port": 0, "warm_prefixes": ["a"], "ready_file": None}
    )
    assert (config.model_path, config.warm_prefixes, config.ready_file) == (Path("/m.gguf"), ("a",), None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"socket": "/s"}, "'stt_path' is missing"),
        ({"socket": "/s", "stt_path": "/p", "thread": 2}, "unknown key 'thread'.*threads"),
        ({"socket": "/s", "stt_path": "/p", "threads": "2"}, "threads is a JSON str; expected int"),
        ([], "expected an object"),
    ],
)
def test_a_wrong_configuration_names_key_and_expectation(values: object, expected: str) -> None:
    with pytest.raises(WorkerConfigError, match=expected):
        config_from(SpeechWorkerConfig, values)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkerConfigError, match=r"none\.json"):
        read_config(SpeechWorkerConfig, tmp_path / "none.json")
