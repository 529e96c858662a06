"""Errors of the product.

::

    LandlineError                 a person is told its text; it says what was expected
    ├── ConfigurationError        settings file, environment or agent file (exit code 2)
    ├── PortTaken                 another program holds a port that is needed
    ├── AlreadyRunning            another ``landline serve`` owns the run directory
    ├── ProcessFailed             a child process did not become ready, or keeps dying
    ├── ControlUnavailable        nothing answers on ``control.sock``
    └── RecordsError              the records database
        ├── RecordsUnavailable    it cannot be written now (disk full, locked)
        ├── SchemaTooNew          it was written by a later Landline
        └── RecordRejected        an operation is malformed; nothing of its batch was written
"""

from __future__ import annotations


class LandlineError(Exception):
    """Base of everything this room raises on purpose."""


class ConfigurationError(LandlineError):
    """The owner's settings are wrong; the text names the key, the place and what was expected."""


class PortTaken(LandlineError):
    """A port that is needed is in use."""


class AlreadyRunning(LandlineError):
    """Another ``landline serve`` owns the run directory."""


class ProcessFailed(LandlineError):
    """A child process did not become ready in its limit, or died too often."""


class ControlUnavailable(LandlineError):
    """Nothing answers on ``control.sock``."""


class RecordsError(LandlineError):
    """Base of what goes wrong with the records database."""


class RecordsUnavailable(RecordsError):
    """The database cannot be written now; ``reason`` is one of ``disk_full``, ``locked``, ``failed``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SchemaTooNew(RecordsError):
    """The database was written by a later version."""


class RecordRejected(RecordsError):
    """An operation is malformed; the text says which and what was expected."""
