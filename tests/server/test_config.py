"""What an owner sees when settings are right, wrong, or come from several places."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from server.config import Settings, find_file, load_settings
from server.errors import ConfigurationError
from server.example_settings import example_yaml

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "landline.example.yaml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "landline.yaml"


def load(file: Path, text: str, **environment: str) -> Settings:
    file.write_text(text)
    return load_settings(file, environment=environment)


def refusal(file: Path, text: str, **environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(file, text, **environment)
    return str(caught.value)


def test_environment_wins_over_file_wins_over_defaults(file: Path) -> None:
    settings = load(
        file, "sip:\n  port: 5070\n  call_limit: 3\n", LANDLINE_SIP__PORT="5080", LANDLINE_HTTP__HOST="::1"
    )
    assert (settings.sip.port, settings.sip.call_limit) == (5080, 3)
    assert (settings.http.host, settings.http.port) == ("::1", 8080)


def test_arguments_win_over_everything(file: Path) -> None:
    file.write_text("sip:\n  port: 5070\n")
    settings = load_settings(
        file, environment={"LANDLINE_SIP__PORT": "5080"}, overrides={"sip": {"port": 5090, "call_limit": 1}}
    )
    assert settings.sip.port == 5090


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sip:\n  port: 5060\n  prot: 1\n", ["line 3", "unknown key sip.prot", "expected one of host, port"]),
        ("http: {}\nspi:\n  port: 1\n", ["line 2", "unknown key spi", "sip, http"]),
        ("sip:\n  port: many\n", ["line 2", "sip.port", "integer"]),
        ("sip:\n  port: 70000\n", ["line 2", "sip.port", "65535"]),
        ("sip:\n  call_limit: 0\n", ["line 2", "sip.call_limit", "greater than 0"]),
        ("sip:\n  rtp_port_first: 20000\n  rtp_port_last: 20001\n", ["line 1", "at least 4"]),
        ("llm:\n  mode: openai\n", ["line 1", "base_url", "http://"]),
        ("llm:\n  mode: magic\n", ["line 2", "llm.mode", "'embedded' or 'openai'"]),
        ("models:\n  sources: [mirror, web]\n", ["line 2", "models.sources"]),
        ("sip:\n  port: 1\nsip:\n  port: 2\n", ["line 3", "sip", "twice", "line 1"]),
        ("sip: [1\n", ["line 2", "not YAML"]),
        ("- sip\n", ["line 1", "key: value"]),
    ],
    ids=[
        "unknown_key",
        "unknown_section",
        "type",
        "range",
        "zero",
        "ports_for_calls",
        "server_without_address",
        "choice",
        "list",
        "twice",
        "no_yaml",
        "no_mapping",
    ],
)
def test_a_mistake_is_named_with_file_line_and_expectation(
    file: Path, text: str, expected: list[str]
) -> None:
    message = refusal(file, text)
    assert message.startswith(str(file))
    for part in expected:
        assert part in message


def test_every_mistake_is_named_at_once(file: Path) -> None:
    message = refusal(file, "sip:\n  port: x\nhttp:\n  port: y\n")
    assert "line 2" in message
    assert "line 4" in message


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("LANDLINE_SIP__PROT", "unknown key sip.prot"),
        ("LANDLINE_SPI__PORT", "unknown key LANDLINE_SPI__PORT"),
        ("LANDLINE_SIP__PORT", "sip.port"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(file: Path, variable: str, expected: str) -> None:
    message = refusal(file, "", **{variable: "many"})
    assert variable in message
    assert expected in message


def test_a_secret_is_never_shown(file: Path) -> None:
    settings = load(file, "", LANDLINE_LLM__API_KEY="tiger")
    assert settings.llm.api_key.get_secret_value() == "tiger"
    assert "tiger" not in repr(settings)
    assert "tiger" not in str(settings.model_dump(mode="json"))
    assert "tiger" not in refusal(file, "llm:\n  api_key: [tiger]\n")


def test_a_missing_file_that_was_named_is_an_error(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(file, environment={})


def test_a_file_that_is_not_text_is_an_error(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_settings(file, environment={})


def test_the_file_that_applies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    user = {"XDG_CONFIG_HOME": str(tmp_path / "home")}
    assert find_file(user) is None
    (tmp_path / "home" / "landline").mkdir(parents=True)
    (tmp_path / "home" / "landline" / "landline.yaml").write_text("")
    assert find_file(user) == tmp_path / "home" / "landline" / "landline.yaml"
    (tmp_path / "landline.yaml").write_text("")
    assert find_file(user) == Path("landline.yaml")
    assert find_file({**user, "LANDLINE_CONFIG": "/elsewhere.yaml"}) == Path("/elsewhere.yaml")


def test_directories_follow_the_settings(file: Path) -> None:
    settings = load(
        file,
        "data_directory: /srv/landline\ncache_directory: /var/cache/landline\nrun_directory: /run/landline\n",
    )
    assert settings.run_path == Path("/run/landline")
    assert settings.records_url == "sqlite:////srv/landline/records.sqlite3"
    assert settings.models_directory == Path("/var/cache/landline/models")
    assert settings.log_path == Path("/srv/landline/landline.log")


def test_settings_cannot_be_changed_after_loading(file: Path) -> None:
    settings = load(file, "")
    with pytest.raises(Exception, match="frozen"):
        settings.sip.port = 1


def test_every_key_is_explained() -> None:
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and hasattr(section, "model_fields"):
            assert section.__doc__, name
            for key, inner in section.model_fields.items():
                assert inner.description, f"{name}.{key}"
        else:
            assert field.description, name


def test_the_annotated_example_is_up_to_date() -> None:
    assert GUIDE.read_text() == example_yaml(), (
        "run: landline config example > docs/guide/landline.example.yaml"
    )


def test_the_example_changes_nothing_as_it_stands(file: Path) -> None:
    assert load(file, example_yaml()) == load_settings(environment={}, overrides=None)


def test_every_default_in_the_example_can_be_uncommented(file: Path) -> None:
    lines = [
        line.replace("# ", "", 1)
        if line.lstrip().startswith("# ") and line.split(": ", 1)[-1].strip()
        else line
        for line in example_yaml().splitlines()
        if not line.lstrip().startswith("##") and ":" in line and not line.startswith("# Landline reads")
    ]
    text = "\n".join(line for line in lines if not line.startswith(("#", "under", "~")))
    assert yaml.safe_load(text)["sip"]["port"] == 5060
    assert load(file, text).sip == load_settings(environment={}).sip
