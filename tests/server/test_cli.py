"""The ``landline`` command as a person uses it, without a running Landline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.records import store
from server.records.database import migrate, open_database
from tests.server.test_records_store import ended, parsed, started, turn

pytestmark = pytest.mark.loopback

LANDLINE = Path(sys.executable).parent / "landline"
CLINIC = Path(__file__).parents[2] / "server" / "samples" / "clinic"


def landline(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(LANDLINE), *arguments],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "COLUMNS": "200",
            "LANDLINE_DATA_DIRECTORY": str(home / "data"),
            "LANDLINE_RUN_DIRECTORY": str(home / "run"),
            "LANDLINE_CACHE_DIRECTORY": str(home / "cache"),
            **environment,
        },
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A home with one call in the records."""
    engine = open_database(f"sqlite:///{tmp_path / 'data' / 'records.sqlite3'}", busy_timeout_ms=100)
    migrate(engine)
    with engine.begin() as connection:
        store.apply(connection, parsed(started(), turn(2), ended(3)))
    engine.dispose()
    return tmp_path


def test_calls_are_listed_and_shown_from_the_file(recorded: Path) -> None:
    listed = landline(recorded, "calls", "list")
    assert listed.returncode == 0, listed.stderr
    assert "c1" in listed.stdout
    assert "completed" in listed.stdout
    assert "1:00" in listed.stdout
    shown = landline(recorded, "calls", "show", "c1")
    for words in ("caller: when do you open", "agent:  At eight.", "from:   hours.md", "grounded", "stt 21"):
        assert words in shown.stdout
    assert json.loads(landline(recorded, "calls", "show", "c1", "--json").stdout)["turns"][0]["turn"] == 1


def test_a_call_that_is_not_there_is_said_so(recorded: Path) -> None:
    shown = landline(recorded, "calls", "show", "nobody")
    assert (shown.returncode, "no call nobody" in shown.stderr) == (2, True)


def test_before_the_first_call_there_is_no_traceback(tmp_path: Path) -> None:
    listed = landline(tmp_path, "calls", "list")
    assert listed.returncode == 2
    assert "no records yet" in listed.stderr
    assert "Traceback" not in listed.stderr


def test_a_wrong_setting_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "landline.yaml").write_text("sip:\n  prot: 1\n")
    for command in (["serve"], ["calls", "list"], ["config", "show"]):
        answer = landline(tmp_path, *command)
        assert answer.returncode == 2
        assert "landline.yaml, line 2: unknown key sip.prot" in answer.stderr
        assert "Traceback" not in answer.stderr


def test_serve_without_models_names_the_command_and_everything_else_that_is_wrong(tmp_path: Path) -> None:
    answer = landline(tmp_path, "serve", LANDLINE_TTS__PYTHON=str(tmp_path / "nowhere"))
    assert answer.returncode == 2
    assert "landline models fetch" in answer.stderr
    assert "tts.python" in answer.stderr


def test_the_settings_are_shown_without_secrets(tmp_path: Path) -> None:
    shown = landline(tmp_path, "config", "show", LANDLINE_LLM__API_KEY="tiger", LANDLINE_SIP__PORT="5099")
    assert "port: 5099" in shown.stdout
    assert "tiger" not in shown.stdout


def test_the_sample_agent_is_in_order_and_a_mistake_in_one_is_named(tmp_path: Path) -> None:
    good = landline(tmp_path, "agent", "check", str(CLINIC))
    assert good.returncode == 0, good.stderr
    assert "clinic: in order" in good.stdout
    (tmp_path / "agent.yaml").write_text("version: 2\nname: x\n")
    bad = landline(tmp_path, "agent", "check", str(tmp_path))
    assert bad.returncode == 2
    assert "agent.yaml, line 1" in bad.stderr


def test_the_catalogue_says_what_is_needed_and_what_is_here(tmp_path: Path) -> None:
    listed = landline(tmp_path, "models", "list")
    assert listed.returncode == 0, listed.stderr
    assert "whisper-base" in listed.stdout
    assert "Apache-2.0" in listed.stdout
    verified = landline(tmp_path, "models", "verify", "joe")
    assert verified.returncode == 1
    assert "landline models fetch joe" in verified.stdout


def test_documents_of_an_empty_collection_without_a_running_landline(tmp_path: Path) -> None:
    listed = landline(tmp_path, "kb", "list", "clinic")
    assert "holds no documents" in listed.stdout
    (tmp_path / "a.md").write_text("# A\n\nWe open at nine.\n")
    added = landline(tmp_path, "kb", "add", "clinic", "a.md")
    assert added.returncode == 2
    assert "landline models fetch" in added.stderr
    missing = landline(tmp_path, "kb", "add", "clinic", "b.md")
    assert "b.md is not there" in missing.stderr


def test_doctor_names_every_problem(tmp_path: Path) -> None:
    answer = landline(tmp_path, "doctor")
    assert answer.returncode == 1
    assert "problem     models:" in answer.stdout


def test_help_needs_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys, server.cli; heavy = {'torch', 'chromadb', 'fastapi', 'sqlalchemy', 'xllamacpp', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=True
    )
    assert answer.stdout.strip() == "[]"
