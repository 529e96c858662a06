"""The GPU shape is in order as files, and the check that says so notices what would break it."""

from __future__ import annotations

import copy
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.check_deploy import COMPOSE, EXAMPLE_VALUES, ROOT, check_compose, interpolate, load
from scripts.dockerfile_check import check_dockerfile
from server.config import load_settings

Tree = dict[str, Any]
Change = Callable[[Tree], None]


def tree() -> Tree:
    loaded: Tree = copy.deepcopy(dict(load(COMPOSE, EXAMPLE_VALUES)))
    # YAML anchors make several services share one object; a change must reach one only.
    loaded["services"] = {name: copy.deepcopy(service) for name, service in loaded["services"].items()}
    return loaded


def at(path: str, value: object) -> Change:
    """Return a change that sets what stands at ``path`` (slashes between keys); None removes it."""

    def change(changed: Tree) -> None:
        node: Any = changed
        *parents, last = path.split("/")
        for key in parents:
            node = node[int(key) if isinstance(node, list) else key]
        if value is None:
            del node[last]
        else:
            node[int(last) if isinstance(node, list) else last] = value

    return change


def without_flag(flag: str) -> Change:
    return lambda changed: changed["services"]["vllm-48gb"]["command"].remove(flag)


def test_the_tree_is_in_order() -> None:
    assert check_compose(tree(), ROOT) == []


LANDLINE = "services/landline"
VLLM = "services/vllm-24gb"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(at("version", "3"), "unknown top-level key version", id="top-level"),
        pytest.param(at(f"{LANDLINE}/port", []), "key port is not one of", id="misspelt-key"),
        pytest.param(at(f"{LANDLINE}/privileged", True), "key privileged", id="privileged"),
        pytest.param(at(f"{LANDLINE}/network_mode", "host"), "key network_mode", id="host-network"),
        pytest.param(at(f"{LANDLINE}/command", "serve"), "command is a str", id="shell-form"),
        pytest.param(at("networks/model", {}), "network model: expected internal", id="model-not-internal"),
        pytest.param(at("networks/data/internal", False), "network data: expected internal", id="data-open"),
        pytest.param(at(f"{LANDLINE}/networks", ["back"]), "back is not defined", id="unknown-network"),
        pytest.param(at(f"{VLLM}/networks/front", {}), "has a way out", id="vllm-with-a-way-out"),
        pytest.param(at("services/database/networks", None), "no networks", id="default-network"),
        pytest.param(at("volumes/database", None), "volume database is not defined", id="unknown-volume"),
        pytest.param(at("secrets/landline", None), "secret landline is not defined", id="unknown-secret"),
        pytest.param(at("secrets/landline", {"environment": "X"}), "expected a file", id="secret-from-env"),
        pytest.param(at(f"{VLLM}/image", "vllm/vllm-openai:latest"), "is not pinned", id="latest"),
        pytest.param(at("services/database/image", "postgres"), "is not pinned", id="no-tag"),
        pytest.param(at(f"{LANDLINE}/read_only", False), "expected read_only", id="writable-root"),
        pytest.param(at(f"{LANDLINE}/security_opt", []), "no-new-privileges", id="privileges"),
        pytest.param(at(f"{VLLM}/cap_drop", []), "expected cap_drop ALL", id="capabilities"),
        pytest.param(
            at("services/database/deploy/resources/limits/memory", None), "no limit of memory", id="no-limit"
        ),
        pytest.param(at(f"{LANDLINE}/healthcheck", None), "no healthcheck", id="no-healthcheck"),
        pytest.param(at(f"{VLLM}/healthcheck/disable", True), "no healthcheck", id="healthcheck-off"),
        pytest.param(
            at(f"{LANDLINE}/depends_on/database/condition", "service_started"),
            "expected service_healthy",
            id="not-waiting-for-health",
        ),
        pytest.param(at(f"{LANDLINE}/depends_on/redis", {}), "redis, which is not defined", id="no-such"),
        pytest.param(
            at(f"{LANDLINE}/depends_on/vllm-24gb/required", True), "expected required: false", id="profile"
        ),
        pytest.param(
            at("services/database/ports", ["5432:5432/tcp"]),
            "expected only landline to publish",
            id="db-port",
        ),
        pytest.param(at(f"{LANDLINE}/ports/0", "22:22/tcp"), "publishes 22/tcp", id="other-port"),
        pytest.param(at(f"{LANDLINE}/ports/0", "22:22/tcp"), "does not publish 5060/udp", id="no-sip"),
        pytest.param(at(f"{LANDLINE}/ports/2", "8080:8080/tcp"), "expected an address", id="console-open"),
        pytest.param(at(f"{LANDLINE}/ports/0", "5070:5060/udp"), "the same outside", id="moved-sip"),
        pytest.param(at(f"{LANDLINE}/ports/0", "any"), "expected [ADDRESS:]HOST", id="malformed-port"),
        pytest.param(
            at(f"{LANDLINE}/environment/LANDLINE_SIP__RTP_PORT_LAST", "20099"),
            "does not publish 20000-20099/udp",
            id="rtp-range",
        ),
        pytest.param(
            at(f"{LANDLINE}/environment/LANDLINE_SIP__CALL_LIMIT", "40"), "expected at least 80", id="calls"
        ),
        pytest.param(
            at(f"{LANDLINE}/environment/LANDLINE_SPEECH__DEVIZE", "cuda"), "devize", id="unknown-setting"
        ),
        pytest.param(
            at(f"{LANDLINE}/environment/LANDLINE_SPEACH__DEVICE", "cuda"), "SPEACH", id="unknown-section"
        ),
        pytest.param(
            at(f"{LANDLINE}/environment/LANDLINE_SPEECH__DEVICE", "gpu"), "speech.device", id="bad-value"
        ),
        pytest.param(
            at(f"{LANDLINE}/environment/LANDLINE_RECORDS__DATABASE_URL", "postgresql://u:p@database/x"),
            "holds a secret",
            id="password-in-environment",
        ),
        pytest.param(
            at("services/database/environment/POSTGRES_PASSWORD", "x"), "holds a secret", id="db-password"
        ),
        pytest.param(at(f"{LANDLINE}/command/0", "server"), "command 'server'", id="no-such-command"),
        pytest.param(at(f"{LANDLINE}/volumes/2", "/srv/models:/cache/models"), "expected :ro", id="writable"),
        pytest.param(
            at(f"{LANDLINE}/build/dockerfile", "deploy/none/Dockerfile"), "not there", id="no-dockerfile"
        ),
        pytest.param(
            at(f"{LANDLINE}/deploy/resources/reservations", None), "reservation of an nvidia", id="no-gpu"
        ),
        pytest.param(
            at(f"{VLLM}/deploy/resources/reservations/devices/0/capabilities", []), "reservation", id="no-cap"
        ),
        pytest.param(at(f"{VLLM}/environment/HF_HUB_OFFLINE", "0"), "phone home", id="hub"),
        pytest.param(at(f"{VLLM}/environment/VLLM_NO_USAGE_STATS", None), "phone home", id="statistics"),
        pytest.param(at(f"{VLLM}/command/0", "meta-llama/Llama"), "the model is a name", id="model-by-name"),
        pytest.param(at(f"{VLLM}/command/0", "/models/other"), "is not mounted", id="model-not-mounted"),
        pytest.param(at(f"{VLLM}/command/1", "--served-model-name=x"), "another model", id="other-name"),
        pytest.param(at(f"{VLLM}/networks", {"model": {}}), "does not answer at http://llm", id="no-alias"),
        pytest.param(at(f"{VLLM}/command/3", "--port=8001"), "does not answer at", id="other-port-inside"),
        pytest.param(without_flag("--enable-auto-tool-choice"), "expected --enable-auto", id="no-tools"),
        pytest.param(without_flag("--tool-call-parser=llama3_json"), "expected --tool-call", id="no-parser"),
        pytest.param(without_flag("--enable-prefix-caching"), "expected --enable-prefix", id="no-caching"),
        pytest.param(
            without_flag("--gpu-memory-utilization=0.80"), "vLLM takes 0.9; x-gpu-memory says 0.8", id="share"
        ),
        pytest.param(at("x-gpu-memory/24gb/speech_gb", 12), "add up to 1.05", id="card-too-small"),
        pytest.param(at(f"{VLLM}/profiles", ["48gb"]), "has another vLLM already", id="two-on-one-card"),
        pytest.param(at("x-gpu-memory/16gb", {}), "profile 16gb: expected a vLLM", id="profile-without-vllm"),
    ],
)
def test_what_would_break_it_is_named(change: Change, says: str) -> None:
    broken = tree()
    change(broken)
    problems = check_compose(broken, ROOT)
    assert any(says in problem for problem in problems), problems


def test_variables_are_filled_in_as_compose_does() -> None:
    text = "${A}|${A:-x}|${B:-x}|${B:?why}|${C-y}|$D"
    assert interpolate(text, {"A": "1"}) == "1|1|x||y|$D"


GOOD = """\
FROM debian:12.12-slim AS build
COPY pyproject.toml ./
FROM debian:12.12-slim
RUN apt-get install -y tini \\
    # a comment between
    && true
COPY --from=build /opt /opt
USER landline
ENTRYPOINT ["/usr/bin/tini", "--", "landline"]
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("", "", ""),
        ("debian:12.12-slim AS", "debian AS", "line 1: base image debian is not pinned"),
        ("debian:12.12-slim AS", "debian:latest AS", "not pinned"),
        ("COPY pyproject.toml", "COPY pyprojekt.toml", "COPY source pyprojekt.toml is not in the tree"),
        ("COPY pyproject.toml", "ADD pyproject.toml", "expected COPY"),
        ("--from=build", "--from=built", "COPY from stage built"),
        ("USER landline\n", "", "runs as root"),
        ("USER landline", "USER root", "runs as root"),
        ('["/usr/bin/tini", "--", "landline"]', "landline", "not in JSON form"),
        ('"landline"]', '"landlord"]', "ENTRYPOINT landlord"),
        ("install -y tini", "install -y dumb-init", "ENTRYPOINT /usr/bin/tini"),
        ("USER landline", "ENV API_TOKEN=x\nUSER landline", "would stay in the image"),
        ("USER landline", "USR landline", "unknown instruction USR"),
        (GOOD, "# nothing\n", "no FROM"),
    ],
)
def test_dockerfile(tmp_path: Path, old: str, new: str, says: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "Dockerfile"
    path.write_text(GOOD.replace(old, new) if old else GOOD, encoding="utf-8")
    problems = check_dockerfile(path, tmp_path)
    if says:
        assert any(says in problem for problem in problems), problems
    else:
        assert problems == []


def test_a_source_that_the_ignore_file_keeps_out_is_named(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "Dockerfile"
    path.write_text(GOOD, encoding="utf-8")
    (tmp_path / "Dockerfile.dockerignore").write_text("*\n!gone\n", encoding="utf-8")
    problems = "\n".join(check_dockerfile(path, tmp_path))
    assert "COPY source pyproject.toml is kept out" in problems
    assert "admits gone, which is not in the tree" in problems


def test_secrets_fit_the_settings_and_are_never_overwritten(tmp_path: Path) -> None:
    script, folder = ROOT / "deploy" / "make_secrets.sh", tmp_path / "secrets"
    subprocess.run([script, folder], check=True, capture_output=True, timeout=20)
    password = (folder / "postgres_password").read_text(encoding="utf-8")
    assert len(password) == 64
    settings = load_settings(folder / "landline.yaml", environment={})
    assert settings.records_url == f"postgresql+pg8000://landline:{password}@database:5432/landline"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    again = subprocess.run([script, folder], check=False, capture_output=True, text=True, timeout=20)
    assert again.returncode == 1
    assert "holds secrets already" in again.stderr
    assert (folder / "postgres_password").read_text(encoding="utf-8") == password


def test_secrets_named_in_compose_are_the_ones_that_are_made() -> None:
    named = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["secrets"]
    script = (ROOT / "deploy" / "make_secrets.sh").read_text(encoding="utf-8")
    for secret in named.values():
        assert f"$folder/{Path(secret['file']).name}" in script
