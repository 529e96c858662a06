"""An asyncio event loop in virtual time: whoever waits is woken at once, and the clock says that the time has passed."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Jumping(selectors.SelectSelector):
    """Looks for input without waiting; where there is none, the wait is over in virtual time."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now."""
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits for something that never comes"
            self._jump(max(0.0, timeout))
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Begins at second 1,000."""

    def __init__(self) -> None:
        self._now = 1_000.0
        super().__init__(_Jumping(self._advance))

    def _advance(self, seconds: float) -> None:
        self._now += seconds

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run ``func`` at once: a thread would take real time, in which virtual time runs away."""
        del executor
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # handed to whoever awaits it, as a thread's would be
            future.set_exception(error)
        return future


def run_virtually(scenario: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a scenario to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario())
