"""Errors of the dialogue.

::

    ConfigurationError
    └── AgentFileError            the agent's folder: file, line, field and what was expected
    LandlineError
    ├── SnapshotTooNew            a snapshot of another version
    └── ToolError                 a tool could not do its work now (the caller hears the fallback phrase)
"""

from __future__ import annotations

from server.errors import ConfigurationError, LandlineError


class AgentFileError(ConfigurationError):
    """The agent's folder cannot be used; the text names file, line, field and what was expected."""


class SnapshotTooNew(LandlineError):
    """A snapshot was written by a version that this one does not know."""


class ToolError(LandlineError):
    """A tool could not do its work now."""
