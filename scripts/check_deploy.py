"""Checks the GPU shape (``docker-compose.gpu.yml`` and its Dockerfiles) as files, without an engine.

``python -m scripts.check_deploy`` prints what is wrong, one line each, and exits 1; 0 when nothing is. Where the
``docker compose`` command works it is asked as well.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.dockerfile_check import PINNED_TAG, check_dockerfile, environment
from server.config import CONFIG_VARIABLE, ENVIRONMENT_PREFIX, Settings, load_settings
from server.errors import ConfigurationError

ROOT: Final = Path(__file__).resolve().parents[1]
COMPOSE: Final = ROOT / "docker-compose.gpu.yml"
INTERNAL_NETWORKS: Final = frozenset({"model", "data"})
PUBLISHER: Final = "landline"
EXAMPLE_VALUES: Final = {"ADVERTISED_HOST": "192.0.2.10", "MODELS": "/srv/models"}
"""Stand-ins for the variables that an owner must set."""

Tree = Mapping[str, Any]

_TOP_KEYS: Final = frozenset({"name", "services", "networks", "volumes", "secrets"})
_SERVICE_KEYS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "build": dict, "cap_drop": list, "command": list, "depends_on": dict, "deploy": dict, "entrypoint": list,
    "environment": dict, "healthcheck": dict, "image": str, "logging": dict, "networks": (list, dict),
    "ports": list, "profiles": list, "read_only": bool, "restart": str, "secrets": list, "security_opt": list,
    "shm_size": str, "stop_grace_period": str, "tmpfs": list, "user": str, "volumes": list,
}  # fmt: skip
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::?([-?])([^}]*))?\}")
_PORT: Final = re.compile(
    r"(?:(?P<address>[\d.]+):)?(?P<host>[\d-]+):(?P<container>[\d-]+)/(?P<protocol>udp|tcp)"
)
_CREDENTIAL: Final = re.compile(r"(PASSWORD|SECRET|TOKEN|API_?KEY|DATABASE_URL)", re.IGNORECASE)
_VLLM_OFFLINE: Final = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
}  # fmt: skip
_VLLM_FLAGS: Final = (
    "--enable-prefix-caching", "--enable-auto-tool-choice", "--tool-call-parser=llama3_json",
    "--no-enable-log-requests",
)  # fmt: skip


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Return ``text`` with ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?why}`` filled in."""

    def fill(match: re.Match[str]) -> str:
        name, kind, rest = match[1], match[2], match[3]
        return values.get(name) or (rest if kind == "-" else "")

    return _VARIABLE.sub(fill, text)


def load(path: Path, values: Mapping[str, str]) -> Tree:
    """Return the parsed compose file, variables filled in."""
    tree = yaml.safe_load(interpolate(path.read_text(encoding="utf-8"), values))
    if not isinstance(tree, dict) or not isinstance(tree.get("services"), dict):
        raise ValueError(f"{path}: expected a mapping with services")
    return tree


def check_compose(tree: Tree, root: Path) -> list[str]:
    """Return what is wrong with a compose file, its Dockerfiles included; each line names the service."""
    problems = [*_shape(tree), *_networks(tree), *_definitions(tree), *_gpu_shares(tree)]
    for name, service in tree["services"].items():
        checks = (
            _image(service, root), _hardening(service), _health(service, tree), _ports(name, service),
            _credentials(service), _mounts(service), _landline(service, root), _vllm(service, tree),
        )  # fmt: skip
        problems += [f"service {name}: {problem}" for check in checks for problem in check]
    return problems


def _shape(tree: Tree) -> Iterator[str]:
    for key in tree:
        if key not in _TOP_KEYS and not key.startswith("x-"):
            yield f"unknown top-level key {key}; expected {', '.join(sorted(_TOP_KEYS))} or x-…"
    for name, service in tree["services"].items():
        for key, value in service.items():
            expected = _SERVICE_KEYS.get(key)
            if expected is None:
                yield f"service {name}: key {key} is not one of {', '.join(sorted(_SERVICE_KEYS))}"
            elif not isinstance(value, expected):
                yield f"service {name}: {key} is a {type(value).__name__}; expected {expected}"


def _networks(tree: Tree) -> Iterator[str]:
    defined = tree.get("networks") or {}
    for name in sorted(INTERNAL_NETWORKS):
        if not (defined.get(name) or {}).get("internal"):
            yield f"network {name}: expected internal: true"
    for name, service in tree["services"].items():
        used = service.get("networks") or ()
        if not used:
            yield f"service {name}: no networks; expected named ones (the default network has a way out)"
        for network in used:
            if network not in defined:
                yield f"service {name}: network {network} is not defined"
            elif network not in INTERNAL_NETWORKS and name != PUBLISHER:
                yield f"service {name}: network {network} has a way out; expected only {PUBLISHER} on it"


def _definitions(tree: Tree) -> Iterator[str]:
    services, volumes, secrets = tree["services"], tree.get("volumes") or {}, tree.get("secrets") or {}
    for name, service in services.items():
        for mount in service.get("volumes", ()):
            source = str(mount).split(":")[0]
            if not source.startswith(("/", "./")) and source not in volumes:
                yield f"service {name}: volume {source} is not defined"
        for secret in service.get("secrets", ()):
            source = secret["source"] if isinstance(secret, dict) else secret
            if source not in secrets:
                yield f"service {name}: secret {source} is not defined"
    for name, secret in secrets.items():
        if "file" not in (secret or {}):
            yield f"secret {name}: expected a file"


def _image(service: Tree, root: Path) -> Iterator[str]:
    if build := service.get("build"):
        context = (root / build.get("context", ".")).resolve()
        yield from check_dockerfile(context / build.get("dockerfile", "Dockerfile"), context)
    image = service.get("image", "")
    if not PINNED_TAG.fullmatch(image):
        yield f"image {image or '(none)'} is not pinned; expected a version tag or a digest"


def _hardening(service: Tree) -> Iterator[str]:
    if service.get("read_only") is not True:
        yield "expected read_only: true"
    if "no-new-privileges:true" not in service.get("security_opt", ()):
        yield "expected security_opt no-new-privileges:true"
    if service.get("cap_drop") != ["ALL"]:
        yield "expected cap_drop ALL"
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    for limit in ("cpus", "memory", "pids"):
        if limit not in limits:
            yield f"no limit of {limit}; expected one in deploy.resources.limits"


def _health(service: Tree, tree: Tree) -> Iterator[str]:
    health = service.get("healthcheck") or {}
    if not health.get("test") or health.get("disable"):
        yield "no healthcheck; expected one"
    for key in ("interval", "timeout", "retries", "start_period"):
        if key not in health:
            yield f"healthcheck without {key}"
    for other, condition in (service.get("depends_on") or {}).items():
        if other not in tree["services"]:
            yield f"depends on {other}, which is not defined"
            continue
        if condition.get("condition") != "service_healthy":
            yield f"depends on {other} as {condition.get('condition')}; expected service_healthy"
        if tree["services"][other].get("profiles") and condition.get("required") is not False:
            yield f"depends on {other}, which a profile may leave out; expected required: false"


def _ports(name: str, service: Tree) -> Iterator[str]:
    published = service.get("ports") or ()
    if name != PUBLISHER:
        if published:
            yield f"publishes {', '.join(published)}; expected only {PUBLISHER} to publish ports"
        return
    settings = service.get("environment") or {}

    def port(key: str, default: int) -> str:
        return str(settings.get(key, default))

    sip, http = Settings.model_fields["sip"].default, Settings.model_fields["http"].default
    media = "-".join(
        (
            port("LANDLINE_SIP__RTP_PORT_FIRST", sip.rtp_port_first),
            port("LANDLINE_SIP__RTP_PORT_LAST", sip.rtp_port_last),
        )
    )
    expected = {
        (port("LANDLINE_SIP__PORT", sip.port), "udp"),
        (media, "udp"),
        (port("LANDLINE_HTTP__PORT", http.port), "tcp"),
    }
    found: set[tuple[str, str]] = set()
    for entry in published:
        match = _PORT.fullmatch(str(entry))
        if match is None:
            yield f"port {entry}: expected [ADDRESS:]HOST:CONTAINER/udp or /tcp"
            continue
        found.add((match["container"], match["protocol"]))
        if match["protocol"] == "udp" and match["host"] != match["container"]:
            yield f"port {entry}: SDP names the port inside; expected the same outside"
        if match["protocol"] == "tcp" and not match["address"]:
            yield f"port {entry}: the console has no log-in; expected an address before it"
    for number, protocol in sorted(found - expected):
        yield f"publishes {number}/{protocol}; expected only SIP, RTP and the console"
    for number, protocol in sorted(expected - found):
        yield f"does not publish {number}/{protocol}, which the settings use"


def _credentials(service: Tree) -> Iterator[str]:
    for name, value in (service.get("environment") or {}).items():
        if _CREDENTIAL.search(name) and not name.endswith("_FILE"):
            yield f"variable {name} holds a secret; expected it in a file under /run/secrets"
        if re.search(r"://[^/@\s]+:[^/@\s]+@", str(value)):
            yield f"variable {name} holds a password in a URL; expected it in a file under /run/secrets"


def _mounts(service: Tree) -> Iterator[str]:
    for mount in service.get("volumes", ()):
        parts = str(mount).split(":")
        if parts[0].startswith(("/", "./")) and parts[-1] != "ro":
            yield f"mount {mount}: expected :ro on what belongs to the host"
        if "docker.sock" in parts[0]:
            yield "mounts the engine's socket; expected not to"


def _landline(service: Tree, root: Path) -> Iterator[str]:
    if not service.get("build"):
        return
    dockerfile = root / service["build"].get("dockerfile", "Dockerfile")
    variables = environment(dockerfile.read_text(encoding="utf-8")) if dockerfile.is_file() else {}
    variables |= {name: str(value) for name, value in (service.get("environment") or {}).items()}
    ours = {name: value for name, value in variables.items() if name.startswith(ENVIRONMENT_PREFIX)}
    ours.pop(CONFIG_VARIABLE, None)
    # An empty file, so that settings of the machine on which the check runs do not take part.
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as empty:
        try:
            load_settings(Path(empty.name), environment=ours)
        except ConfigurationError as error:
            yield from str(error).splitlines()
    command = service.get("command") or [""]
    if command[0] not in _subcommands():
        yield f"command {command[0]!r}; expected one of {', '.join(sorted(_subcommands()))}"


def _subcommands() -> set[str]:
    from server.cli import app

    return {
        command.name or (command.callback.__name__ if command.callback else "")
        for command in app.registered_commands
    }


def _vllm(service: Tree, tree: Tree) -> Iterator[str]:
    environ, image = service.get("environment") or {}, service.get("image", "")
    if needs_gpu(service) and not _devices(service):
        yield "needs the GPU; expected a reservation of an nvidia device"
    if not image.startswith("vllm/"):
        return
    for name, value in _VLLM_OFFLINE.items():
        if str(environ.get(name)) != value:
            yield f"expected {name}={value}: it would phone home"
    command = [str(word) for word in service.get("command", ())]
    for flag in _VLLM_FLAGS:
        if flag not in command:
            yield f"expected {flag}"
    if not command or not command[0].startswith("/"):
        yield "the model is a name; expected a path (a name is looked up on a hub)"
    elif not any(str(mount).split(":")[1] == command[0] for mount in service.get("volumes", ())):
        yield f"the model {command[0]} is not mounted"
    client = tree["services"].get(PUBLISHER, {}).get("environment") or {}
    networks = service.get("networks") or {}
    aliases = {
        alias
        for options in (networks.values() if isinstance(networks, dict) else ())
        for alias in (options or {}).get("aliases", ())
    }
    url = str(client.get("LANDLINE_LLM__BASE_URL", ""))
    if url not in {f"http://{alias}:{_flag(command, '--port')}/v1" for alias in aliases}:
        yield f"does not answer at {url}, where {PUBLISHER} asks"
    if _flag(command, "--served-model-name") != client.get("LANDLINE_LLM__SERVED_MODEL"):
        yield f"serves {_flag(command, '--served-model-name')}; {PUBLISHER} asks for another model"


def needs_gpu(service: Tree) -> bool:
    """Whether the service computes on the card."""
    environ = service.get("environment") or {}
    return service.get("image", "").startswith("vllm/") or environ.get("LANDLINE_SPEECH__DEVICE") == "cuda"


def _devices(service: Tree) -> Sequence[Tree]:
    reserved = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", ())
    return [
        device
        for device in reserved
        if device.get("driver") == "nvidia" and "gpu" in device.get("capabilities", ())
    ]


def _flag(command: Sequence[str], name: str) -> str:
    return next((word.split("=", 1)[1] for word in command if word.startswith(f"{name}=")), "")


def _gpu_shares(tree: Tree) -> Iterator[str]:
    stated = tree.get("x-gpu-memory") or {}
    served: dict[str, float] = {}
    for name, service in tree["services"].items():
        if not service.get("image", "").startswith("vllm/"):
            continue
        profiles = service.get("profiles") or [""]
        share = _flag([str(word) for word in service.get("command", ())], "--gpu-memory-utilization")
        for profile in profiles:
            if profile in served:
                yield f"service {name}: profile {profile} has another vLLM already; expected one on the card"
            served[profile] = float(share or 0.9)
    for profile in sorted(served.keys() | stated.keys()):
        plan = stated.get(profile)
        if plan is None or profile not in served:
            yield f"profile {profile or '(none)'}: expected a vLLM and an entry in x-gpu-memory"
            continue
        if served[profile] != plan["vllm_share"]:
            yield f"profile {profile}: vLLM takes {served[profile]}; x-gpu-memory says {plan['vllm_share']}"
        total = served[profile] + plan["speech_gb"] / plan["card_gb"]
        if total >= 1:
            yield f"profile {profile}: the shares add up to {total:.2f} of the card; expected less than 1"


def ask_docker(path: Path, values: Mapping[str, str]) -> list[str]:
    """Return what ``docker compose config`` objects to; nothing where that command does not work."""
    variables = {**os.environ, **values}
    try:
        probe = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=20, check=False)
        if probe.returncode:
            return []
        asked = subprocess.run(
            ["docker", "compose", "-f", str(path), "--profile", "*", "config", "-q"],
            capture_output=True, text=True, timeout=60, check=False, env=variables,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [f"docker compose: {asked.stderr.strip()}"] if asked.returncode else []


def main() -> int:
    """Check the tree's own files; return the exit code."""
    problems = check_compose(load(COMPOSE, EXAMPLE_VALUES), ROOT) + ask_docker(COMPOSE, EXAMPLE_VALUES)
    for problem in problems:
        print(f"{COMPOSE.name}: {problem}", file=sys.stderr)
    if not problems:
        print(f"{COMPOSE.name}: in order (checked as files; nothing was started)")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
