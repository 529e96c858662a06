"""What the subcommands share: the settings, and the running Landline's control socket."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from server.errors import ControlUnavailable, LandlineError

if TYPE_CHECKING:
    from server.config import Settings

_LIMIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Context:
    """The options before the subcommand."""

    config_file: Path | None

    def settings(self) -> Settings:
        """Return the settings. Raises ConfigurationError."""
        from server.config import load_settings

        return load_settings(self.config_file)


def settings_of(context: typer.Context) -> Settings:
    """Return the settings of this invocation."""
    found = context.find_object(Context)
    assert found is not None
    return found.settings()


def fail(text: str) -> None:
    """Print an error on stderr."""
    print(f"landline: {text}", file=sys.stderr)


def ask_control(
    settings: Settings,
    method: str,
    path: str,
    *,
    body: object = None,
    query: dict[str, str | int] | None = None,
    limit_s: float = _LIMIT_S,
) -> Any:
    """Ask the running Landline.

    Raises ControlUnavailable when none runs, LandlineError with control's own words when it refuses.
    """
    import httpx

    socket = settings.run_path.resolve() / "control.sock"
    transport = httpx.HTTPTransport(uds=str(socket))
    try:
        with httpx.Client(transport=transport, base_url="http://control", timeout=limit_s) as client:
            answer = client.request(method, path, json=body, params=query)
    except httpx.ConnectError:
        raise ControlUnavailable("Landline is not running here") from None
    except httpx.HTTPError as error:
        raise LandlineError(f"the running Landline does not answer ({type(error).__name__})") from None
    if answer.is_success:
        return answer.json()
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"status {answer.status_code}"
    raise LandlineError(detail)
