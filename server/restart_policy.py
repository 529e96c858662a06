"""When a dead process is started again. Sans-I/O: times are arguments."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class RestartPolicy:
    """Doubles the pause with each death, up to a limit; a long life earns the first pause again."""

    delay_first_s: float
    delay_max_s: float
    forget_s: float
    restarts: int = 0
    """Deaths so far."""
    _delay_s: float = 0.0

    def died(self, *, lived_s: float) -> float:
        """Return how many seconds to wait before the next start."""
        self.restarts += 1
        if lived_s >= self.forget_s or not self._delay_s:
            self._delay_s = self.delay_first_s
        else:
            self._delay_s = min(self._delay_s * 2, self.delay_max_s)
        return self._delay_s
