"""Every setting of Landline, and the only reader of the environment.

Sources, strongest first: arguments, environment (``LANDLINE_SECTION__KEY``), one YAML file, the defaults
below. An unknown key is an error that names the key and where it stands. Other rooms never see this model;
:mod:`server.process_configs` makes their plain dataclasses from it.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from server.config_file import read_yaml
from server.errors import ConfigurationError

ENVIRONMENT_PREFIX: Final = "LANDLINE_"
CONFIG_VARIABLE: Final = "LANDLINE_CONFIG"
FILE_NAME: Final = "landline.yaml"

SAMPLE_AGENT: Final = Path(__file__).parent / "samples" / "clinic"


def _expand(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) and value else value


OwnerPath = Annotated[Path, BeforeValidator(_expand)]
Port = Annotated[int, Field(ge=1, le=65535)]
PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of every section: frozen, unknown keys refused, docstrings as descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SipSettings(Section):
    """The telephone: where calls come in, and how many."""

    host: str = "0.0.0.0"
    """Address on which SIP and RTP listen."""
    port: Port = 5060
    """UDP port of SIP."""
    rtp_port_first: Port = 20000
    """First UDP port of the range that media uses; even ports carry RTP."""
    rtp_port_last: Port = 20199
    """Last UDP port of that range; a call needs two."""
    advertised_host: str = ""
    """Address written into Contact and SDP. Empty: the address of the route to each caller. Set it behind
    a static NAT."""
    user: str = "clinic"
    """User part of the address to ring; any user part is answered."""
    call_limit: PositiveInt = 2
    """Calls at once; beyond it callers get 503 with Retry-After. The embedded language model shares one warm
    prefix between two slots."""
    retry_after_s: PositiveInt = 10
    """Retry-After of that 503."""
    handoff_target: str = ""
    """SIP URI to which a caller is transferred who asks for a person, where the agent's own file names none.
    Empty: the caller is told that nobody can be reached."""
    media_timeout_s: PositiveFloat = 30.0
    """A call that is not on hold ends after so long without RTP and without signalling."""
    agent_wait_s: PositiveFloat = 10.0
    """How long callers are kept when the agent is gone, before they are handed over to a person."""

    @model_validator(mode="after")
    def _range_holds_the_calls(self) -> SipSettings:
        ports = self.rtp_port_last - self.rtp_port_first + 1
        if ports < 2 * self.call_limit:
            raise ValueError(
                f"rtp_port_first {self.rtp_port_first} to rtp_port_last {self.rtp_port_last} holds {max(ports, 0)}"
                f" ports; expected at least {2 * self.call_limit} (two a call, call_limit {self.call_limit})"
            )
        return self


class WebSocketSettings(Section):
    """Calls as raw audio over a WebSocket, for tools that talk that way (docs/guide/websocket.md)."""

    enabled: bool = False
    """Take such calls."""
    host: str = "127.0.0.1"
    """Numeric address on which they are taken. They are not encrypted: put a proxy with TLS before any other address."""
    port: Port = 8090
    """TCP port."""
    token: SecretStr = SecretStr("")
    """Bearer token that clients must show. Only a loopback address may go without."""
    call_limit: PositiveInt = 2
    """Calls at once through this door; beyond it clients get 503 with Retry-After. All doors together carry as many calls
    as the door with the highest limit."""
    retry_after_s: PositiveInt = 10
    """Retry-After of that 503."""

    @model_validator(mode="after")
    def _strangers_show_a_token(self) -> WebSocketSettings:
        try:
            loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            raise ValueError("host is no numeric address; expected something like 127.0.0.1") from None
        if not loopback and not self.token.get_secret_value():
            raise ValueError(f"host {self.host} can be reached by others; expected a token")
        return self


class HttpSettings(Section):
    """Health, readiness and metrics over HTTP. They carry no personal data and have no log-in."""

    host: str = "127.0.0.1"
    """Address on which HTTP listens; 0.0.0.0 to be seen from other machines."""
    port: Port = 8080
    """TCP port."""


class AgentSettings(Section):
    """Who answers, and when it speaks."""

    folder: OwnerPath = SAMPLE_AGENT
    """Folder that holds ``agent.yaml`` and the agent's documents."""
    spare: bool = True
    """Keep a second agent process loaded, so that a killed or hung one is replaced at once."""


class TurnTakingSettings(Section):
    """Who speaks when. Shorter silences answer sooner and cut off more callers."""

    speech_threshold: Share = 0.5
    """Probability from which a window of 32 ms counts as speech."""
    sure_threshold: Share = 0.8
    """Probability from which one window is enough for speech to have begun; 1: never."""
    silence_threshold: Share = 0.35
    """Probability below which a window counts as silence."""
    speech_start_ms: PositiveInt = 64
    """Speech must last so long to count as begun; also the delay of a barge-in."""
    speech_stop_ms: PositiveInt = 64
    """Silence must last so long to count as a pause."""
    endpointing: Literal["fused", "transcript", "fixed"] = "fused"
    """What ends a turn: words, sound and habit together, the words only, or a silence of one length."""
    patience: Annotated[float, Field(gt=0, le=4)] = 0.9
    """``fused``: below 1 answers sooner what sounds sure, and cuts more callers off; above 1 stretches every silence."""
    endpoint_silence_ms: PositiveInt = 450
    """``transcript`` and ``fixed``: silence that ends a turn which sounds finished."""
    unfinished_silence_ms: PositiveInt = 1200
    """``transcript``: silence that ends a turn which breaks off, or a number being dictated."""
    early_transcribe_ms: PositiveInt = 64
    """Silence after which the turn so far is transcribed, before it is known to be over."""
    score_interval_ms: NonNegativeInt = 100
    """The turn detector judges a silence anew so often; 0: never."""
    speculation_lead_ms: NonNegativeInt = 1_300
    """A reply is prepared, unheard, at most so long before its turn is expected to be over; 0: never."""
    speculation_keep_ms: PositiveInt = 400
    """Speech for so long makes a prepared reply worthless; shorter may have been a noise."""
    reopen_audible_ms: NonNegativeInt = 400
    """A caller who goes on when no more of the reply was heard than this is still in the same turn."""
    partial_interval_ms: NonNegativeInt = 1_500
    """Words of a turn that is going on are looked up and prefilled so often; 0: never."""
    dead_air_ms: PositiveInt = 3_500
    """Longest silence while the agent works; then it says that it does."""
    utterance_limit_ms: PositiveInt = 28_000
    """A turn longer than this is cut and answered."""
    transcribe_limit_ms: PositiveInt = 6_000
    """A transcription that takes longer is given up."""
    reply_limit_ms: PositiveInt = 20_000
    """A reply without its first words for so long is given up: an honest sentence, then a person."""
    dtmf_gap_ms: PositiveInt = 1_000
    """Pause that ends a row of key presses; ``#`` ends it at once."""
    silence_prompt_ms: PositiveInt = 8_000
    """Silence after which the caller is asked whether they are still there."""
    silence_farewell_ms: PositiveInt = 30_000
    """Silence after which the agent says goodbye and hangs up."""
    closing_limit_ms: PositiveInt = 25_000
    """Longest time between the decision to hang up and hanging up."""
    echo_cancellation: Literal["auto", "off"] = "auto"
    """``auto``: a leg on which the agent's own voice comes back gets an echo canceller; ``off``: none does."""
    max_turns: PositiveInt = 60
    """Turns of one call, then farewell."""
    max_call_s: PositiveInt = 1_200
    """Length of one call, then farewell."""
    trace_directory: OwnerPath | None = None
    """Each call's turn taking is written here, **with what the caller said**, to be replayed and tuned by. Empty: nowhere."""


class LoadSettings(Section):
    """What is left out, and how many calls are taken, when the models are busy."""

    target_share: Annotated[float, Field(gt=0.1, le=1)] = 0.8
    """Busy share of the busiest model up to which calls are taken, counting only what cannot be left out.
    ``sip.call_limit`` stays the most."""
    shed_share: PositiveFloat = 0.85
    """Busy share of the last 5 s from which speculation is left out while several calls are up; above 1: never."""
    shed_partials_share: PositiveFloat = 0.95
    """The same for partial transcripts."""
    restore_share: Share = 0.6
    """Busy share below which they come back, one after the other."""
    shed_wait_ms: PositiveFloat = 200.0
    """Mean wait of what a caller waits for from which speculation is left out; twice that: partial transcripts."""
    partial_cpu_share: Share = 0.2
    """Share of one core that all partial transcripts together may use."""


class SpeechSettings(Section):
    """Speech to text, in a process of its own."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where Whisper runs."""
    model: str = "whisper-base"
    """Name in the catalogue (``landline models list``)."""
    model_path: OwnerPath | None = None
    """Folder of a CTranslate2 Whisper model of one's own instead."""
    compute_type: Literal["int8", "int8_float16", "float16", "float32"] = "int8"
    """Arithmetic; float16 on a GPU."""
    threads: PositiveInt = 2
    """CPU threads."""
    queue_limit: PositiveInt = 16
    """Requests that may wait; beyond it the worker answers busy."""
    language: str = "en"
    """Language spoken by callers."""
    turn_model: str = "smart-turn"
    """Name in the catalogue of the model that hears whether a caller is done; empty: pauses and words alone decide."""
    turn_model_path: OwnerPath | None = None
    """``.onnx`` file of a Smart Turn 3 model of one's own instead."""


class TtsSettings(Section):
    """Text to speech (Piper), in a process and an environment of its own."""

    python: OwnerPath | None = None
    """Python of the environment that holds piper-tts. Empty: ``.venv-piper/bin/python`` beside the sources."""
    voice: str = "joe"
    """Name in the catalogue."""
    voice_path: OwnerPath | None = None
    """``.onnx`` file of a Piper voice of one's own instead, its ``.onnx.json`` beside it."""
    threads: PositiveInt = 2
    """CPU threads."""
    queue_limit: PositiveInt = 32
    """Requests that may wait; beyond it the worker answers busy."""


class LlmSettings(Section):
    """The language model: embedded llama.cpp, or any OpenAI-compatible server of your own."""

    mode: Literal["embedded", "openai"] = "embedded"
    """``embedded`` starts llama.cpp; ``openai`` uses the server at ``base_url`` (vLLM)."""
    base_url: str = ""
    """Base URL of that server, ending in ``/v1``. Only for mode ``openai``."""
    api_key: SecretStr = SecretStr("")
    """Bearer token for that server, if it asks for one."""
    served_model: str = ""
    """Model name that server knows. Only for mode ``openai``."""
    adapter: Literal["auto", "structured", "native"] = "auto"
    """How tools are called: ``structured`` JSON for small models, ``native`` tools for Llama on vLLM;
    ``auto`` takes structured for embedded and native otherwise."""
    model: str = "qwen2.5-coder-1.5b"
    """Name in the catalogue. Only for mode ``embedded``."""
    model_path: OwnerPath | None = None
    """GGUF file of one's own instead."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Loopback TCP port of the embedded server; 0 takes a free one at each start."""
    threads: PositiveInt = 2
    """CPU threads."""
    slots: PositiveInt = 2
    """Replies at once."""
    context_tokens: PositiveInt = 4096
    """Context of one slot."""
    micro_batch_tokens: PositiveInt = 16
    """Tokens of prefill after which a cancelled reply is noticed."""

    @model_validator(mode="after")
    def _server_is_named(self) -> LlmSettings:
        if self.mode == "openai" and not self.base_url.startswith(("http://", "https://")):
            raise ValueError("mode openai needs base_url; expected something like http://127.0.0.1:8000/v1")
        if self.mode == "openai" and not self.served_model:
            raise ValueError("mode openai needs served_model; expected the model's name on that server")
        return self


class KnowledgeSettings(Section):
    """The knowledge base: documents in, passages with sources out."""

    collection: str = Field(default="", pattern=r"^$|^[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]$")
    """Collection that the agent searches. Empty: the agent file's."""
    embedding_model: str = "minilm"
    """Name in the catalogue."""
    embedding_model_path: OwnerPath | None = None
    """Folder of a sentence-transformers model of one's own instead."""
    lock_timeout_s: PositiveFloat = 5.0
    """How long to wait for another owner of the index to let go."""


class RecordsSettings(Section):
    """The record of every call."""

    database_url: SecretStr = SecretStr("")
    """SQLAlchemy URL. Empty: SQLite, ``records.sqlite3`` in the data directory."""
    required: bool = True
    """Refuse new calls while records cannot be written (disk full). Otherwise they are answered unrecorded."""
    disk_free_min_mb: PositiveInt = 200
    """Free disk space below which Landline is not ready."""
    busy_timeout_ms: PositiveInt = 5000
    """How long a write waits for another holder of the database's lock."""
    batch_limit: PositiveInt = 256
    """Operations written in one transaction."""
    queue_limit: PositiveInt = 64
    """Requests that may wait for the writer; beyond it they are answered 503."""


class ModelsSettings(Section):
    """Where weights come from. Nothing is fetched while calls are served."""

    sources: tuple[Literal["directory", "bundle", "mirror", "upstream", "registry"], ...] = (
        "directory",
        "bundle",
        "mirror",
        "upstream",
        "registry",
    )
    """Order in which ``landline models fetch`` tries the sources that are configured. Production leaves out
    ``registry``: third parties' re-uploads that may vanish."""
    directory: OwnerPath | None = None
    """Folder that holds ``NAME/FILE`` already."""
    bundle: OwnerPath | None = None
    """Archive made by ``landline models bundle``."""
    mirror: str = ""
    """Base URL of one's own mirror, which serves ``NAME/FILE``."""


class SupervisorSettings(Section):
    """Start, watch and restart of the processes."""

    ready_timeout_s: PositiveFloat = 120.0
    """A process that is not ready after so long is a failure."""
    stop_timeout_s: PositiveFloat = 8.0
    """A process asked to stop is killed after so long."""
    goodbye_timeout_s: PositiveFloat = 12.0
    """Time that callers get to hear the goodbye at shut-down."""
    beat_timeout_ms: PositiveInt = 1000
    """An agent silent for so long hangs: it is killed and the spare takes over."""
    restart_delay_first_ms: PositiveInt = 200
    """Pause before a dead process is started again; doubled each time."""
    restart_delay_max_ms: PositiveInt = 30000
    """Longest such pause; a process is never given up."""
    restart_forget_s: PositiveFloat = 60.0
    """A process that ran so long has earned the first pause again."""
    unanswered_limit_s: PositiveFloat = 20.0
    """A process other than the agent that answers nothing for so long hangs: it is killed and started again."""


class LoggingSettings(Section):
    """One JSON object a line; never speech, names, numbers or callers' addresses."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written."""
    file: OwnerPath | None = None
    """File to write to. Empty: ``landline.log`` in the data directory."""
    file_limit_mb: PositiveInt = 50
    """Size at which the file is rotated; one older file is kept."""


class Settings(BaseSettings):
    """All settings of Landline."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
        nested_model_default_partial_update=True,
    )

    cache_directory: OwnerPath = Field(default_factory=lambda: _xdg("XDG_CACHE_HOME", ".cache"))
    """Models; a second checkout downloads nothing. Default: ``~/.cache/landline``."""
    data_directory: OwnerPath = Field(default_factory=lambda: _xdg("XDG_DATA_HOME", ".local/share"))
    """Records, knowledge base, the agents' own databases. Default: ``~/.local/share/landline``."""
    run_directory: OwnerPath | None = None
    """Sockets and process configurations, one per running ``landline serve``. Default:
    ``$XDG_RUNTIME_DIR/landline``, or ``run`` in the data directory."""

    sip: SipSettings = SipSettings()
    http: HttpSettings = HttpSettings()
    websocket: WebSocketSettings = WebSocketSettings()
    agent: AgentSettings = AgentSettings()
    turns: TurnTakingSettings = TurnTakingSettings()
    load: LoadSettings = LoadSettings()
    speech: SpeechSettings = SpeechSettings()
    tts: TtsSettings = TtsSettings()
    llm: LlmSettings = LlmSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    records: RecordsSettings = RecordsSettings()
    models: ModelsSettings = ModelsSettings()
    supervisor: SupervisorSettings = SupervisorSettings()
    logging: LoggingSettings = LoggingSettings()

    @property
    def run_path(self) -> Path:
        """Run directory, the default resolved."""
        if self.run_directory is not None:
            return self.run_directory
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        return Path(runtime) / "landline" if runtime else self.data_directory / "run"

    @property
    def log_path(self) -> Path:
        """Log file, the default resolved."""
        return self.logging.file or self.data_directory / "landline.log"

    @property
    def records_url(self) -> str:
        """Database URL of the records, the default resolved."""
        url = self.records.database_url.get_secret_value()
        return url or f"sqlite:///{self.data_directory / 'records.sqlite3'}"

    @property
    def knowledge_directory(self) -> Path:
        """Folder of the Chroma index."""
        return self.data_directory / "knowledge"

    @property
    def llm_adapter(self) -> Literal["structured", "native"]:
        """How tools are called, ``auto`` resolved."""
        if self.llm.adapter != "auto":
            return self.llm.adapter
        return "structured" if self.llm.mode == "embedded" else "native"

    @property
    def embedding_name(self) -> str:
        """What the index remembers as the embedding model: documents embedded by another are embedded anew."""
        own = self.knowledge.embedding_model_path
        return str(own) if own is not None else self.knowledge.embedding_model

    @property
    def models_directory(self) -> Path:
        """Folder of the fetched models: ``NAME/FILE`` below it."""
        return self.cache_directory / "models"


def load_settings(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings from ``overrides``, ``environment`` and the YAML file at ``path``.

    Without ``path`` the file is the one named by ``LANDLINE_CONFIG``, else ``landline.yaml`` in the working
    directory, else ``$XDG_CONFIG_HOME/landline/landline.yaml``, else none.

    Raises :class:`server.errors.ConfigurationError`, which names key, place and what was expected.
    """
    variables = dict(os.environ if environment is None else environment)
    path = path or find_file(variables)
    values, lines = read_yaml(path) if path is not None else ({}, {})
    # A section whose keys are all commented out is null in YAML.
    values = {key: value for key, value in values.items() if value is not None}
    _refuse_unknown_variables(variables)

    class Source(EnvSettingsSource):
        def _load_env_vars(self) -> Mapping[str, str | None]:
            return {name.lower(): value for name, value in variables.items()}

    class FromSources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, Source(settings_cls), InitSettingsSource(settings_cls, init_kwargs=values)

    try:
        found = FromSources(**(overrides or {}))
    except ValidationError as error:
        raise ConfigurationError(_explain(error, path, lines, variables)) from None
    except ValueError as error:
        raise ConfigurationError(f"settings from the environment: {error}") from None
    return Settings.model_construct(**{name: getattr(found, name) for name in Settings.model_fields})


def find_file(variables: Mapping[str, str]) -> Path | None:
    """Return the settings file that applies when none is named, or None."""
    if named := variables.get(CONFIG_VARIABLE):
        return Path(named).expanduser()
    home = variables.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    candidates = (Path(FILE_NAME), Path(home) / "landline" / FILE_NAME)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _xdg(variable: str, fallback: str) -> Path:
    base = os.environ.get(variable, "")
    return (Path(base) if base else Path.home() / fallback) / "landline"


def _refuse_unknown_variables(variables: Mapping[str, str]) -> None:
    for name in sorted(variables):
        if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_VARIABLE:
            continue
        section = name.removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower()
        if section not in Settings.model_fields:
            expected = ", ".join(Settings.model_fields)
            raise ConfigurationError(
                f"environment: unknown key {name}; expected one of {expected} after LANDLINE_"
            )


def _explain(
    error: ValidationError,
    path: Path | None,
    lines: Mapping[tuple[str, ...], int],
    variables: Mapping[str, str],
) -> str:
    """Return one line a mistake: where, which key, what was expected. Never a value: it may be a secret."""
    return "\n".join(
        _explain_one(
            tuple(str(part) for part in item["loc"]), item["msg"], item["type"], path, lines, variables
        )
        for item in error.errors(include_input=False, include_url=False)
    )


def _explain_one(
    key: tuple[str, ...],
    message: str,
    kind: str,
    path: Path | None,
    lines: Mapping[tuple[str, ...], int],
    variables: Mapping[str, str],
) -> str:
    variable = ENVIRONMENT_PREFIX + "__".join(key).upper()
    place = "settings"
    if variable in variables:
        place = f"environment, {variable}"
    elif path is not None:
        line = next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), None)
        place = f"{path}, line {line}" if line else str(path)
    if kind == "extra_forbidden":
        known = ", ".join(_known_keys(key[:-1]))
        return f"{place}: unknown key {'.'.join(key)}; expected one of {known}"
    return f"{place}: {'.'.join(key)}: {message.removeprefix('Value error, ')}"


def _known_keys(section: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in section:
        field = model.model_fields.get(part)
        if (
            field is None
            or not isinstance(field.annotation, type)
            or not issubclass(field.annotation, BaseModel)
        ):
            return []
        model = field.annotation
    return list(model.model_fields)
