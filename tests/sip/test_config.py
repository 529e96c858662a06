"""Configuration of the sip process: what cannot work is named, with what was expected."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sip import config
from sip.errors import ConfigurationError


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "sip.json"
    path.write_text(json.dumps({"run_directory": "/run/landline", "port": 5070, "agent_wait_s": 3}))
    settings = config.load(str(path))
    assert (settings.port, settings.agent_wait_s, settings.call_limit) == (5070, 3.0, 2)
    assert settings.leg_socket == "/run/landline/leg.sock"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"run_directory": ""}, "run_directory is ''; expected a directory", id="no-directory"),
        pytest.param({"port": "5060"}, "port is '5060'; expected a whole number", id="text-for-a-port"),
        pytest.param({"port": True}, "port is True; expected a whole number", id="bool-for-a-port"),
        pytest.param({"port": 70_000}, "port is 70000; expected a port from 0 to 65535", id="port-too-large"),
        pytest.param({"host": "example.org"}, "expected a numeric IPv4 or IPv6 address", id="host-name"),
        pytest.param({"call_limit": 0}, "call_limit is 0; expected a whole number above 0", id="no-calls"),
        pytest.param(
            {"media_timeout_s": -1}, "media_timeout_s is -1.0; expected a number", id="negative-time"
        ),
        pytest.param({"handoff_target": "desk"}, "expected a SIP URI", id="target-no-uri"),
        pytest.param({"rtp_port_first": 20_000, "rtp_port_last": 20_002}, "room for 2 calls", id="few-ports"),
        pytest.param({"prot": 5060}, "unknown key 'prot'; expected one of", id="unknown-key"),
    ],
)
def test_what_cannot_work_is_named(change: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        config.from_mapping({"run_directory": "/run", **change})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"port": 5060}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sip.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"sip\.json: .*expected"):
        config.load(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.json: cannot be read"):
        config.load(str(tmp_path / "nowhere.json"))
