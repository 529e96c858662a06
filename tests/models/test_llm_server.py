from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import ModelFileError, WorkerConfigError
from models.llm_server import check_config, prune_states
from models.worker_config import LlmServerConfig


def test_only_the_newest_states_are_kept(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / f"prefix-{number:02}.state"
        path.write_bytes(b"x")
        os.utime(path, ns=(number, number))
    prune_states(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"prefix-{n:02}.state" for n in range(4, 12)]


def test_a_missing_model_and_a_batch_smaller_than_the_slots_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.gguf is missing"):
        check_config(LlmServerConfig(tmp_path / "none.gguf", 0))
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    with pytest.raises(WorkerConfigError, match="micro_batch_tokens 1"):
        check_config(LlmServerConfig(tmp_path / "some.gguf", 0, micro_batch_tokens=1))


def test_the_threads_hardly_spin_while_they_wait_for_each_other() -> None:
    """OpenMP itself tells what it has taken; an owner's own setting would be kept."""
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    loaded = subprocess.run(
        [sys.executable, "-c", "import models.llm_server"],
        env={**environment, "OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "GOMP_SPINCOUNT = '1000'" in loaded.stderr
