"""Errors of the models.

::

    ModelError                    ``retryable`` says whether the same request may succeed later
    ├── ModelFileError            a weight file is missing, truncated or altered
    ├── WorkerUnavailable         the worker is not there (retryable)
    ├── WorkerTimeout             the worker did not answer in time (retryable)
    ├── WorkerRefused             the worker said no: bad request, or its queue is full
    └── WorkerProtocolError       bytes on a worker's socket that are not worker protocol
"""

from __future__ import annotations


class ModelError(Exception):
    """Base of everything this room raises on purpose."""

    retryable = False


class ModelFileError(ModelError):
    """A weight file is missing, truncated or altered."""


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
