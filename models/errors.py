"""Errors of the models.

::

    ModelError                    ``retryable`` says whether the same request may succeed later
    ├── ModelFileError            a weight file is missing, truncated or altered
    ├── ModelSourceError          no source gave the file; says what each one answered
    ├── UnknownModel              a name that is not in the catalogue
    ├── WorkerConfigError         a worker's configuration does not fit; says what was expected
    ├── WorkerUnavailable         the worker is not there (retryable)
    ├── WorkerTimeout             the worker did not answer in time (retryable)
    ├── WorkerRefused             the worker said no: bad request, or its queue is full
    ├── WorkerProtocolError       bytes on a worker's socket that are not worker protocol
    ├── LanguageModelUnavailable  the language model's server is not there or failed (retryable)
    ├── LanguageModelTimeout      no token in time (retryable)
    └── LanguageModelRefused      the server said no, or its reply is not what was asked for
"""

from __future__ import annotations


class ModelError(Exception):
    """Base of everything this room raises on purpose."""

    retryable = False


class ModelFileError(ModelError):
    """A weight file is missing, truncated or altered."""


class ModelSourceError(ModelError):
    """No configured source gave the file."""


class UnknownModel(ModelError):
    """A name that is not in the catalogue."""


class WorkerConfigError(ModelError):
    """A worker's configuration does not fit."""


class WorkerUnavailable(ModelError):
    """The worker process is not there."""

    retryable = True


class WorkerTimeout(ModelError):
    """The worker did not answer in time."""

    retryable = True


class WorkerRefused(ModelError):
    """The worker answered with an error."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.retryable = retryable


class WorkerProtocolError(ModelError):
    """Bytes on a worker's socket that are not worker protocol."""


class LanguageModelUnavailable(ModelError):
    """The language model's server is not there or failed."""

    retryable = True


class LanguageModelTimeout(ModelError):
    """No token in time."""

    retryable = True


class LanguageModelRefused(ModelError):
    """The server said no, or its reply is not what was asked for."""
