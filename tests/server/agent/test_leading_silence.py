"""The silence before the first word is cut, and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.agent.leading_silence import LeadingSilence


@given(st.integers(0, 3000), st.lists(st.integers(1, 700), min_size=1, max_size=20))
def test_what_is_cut_is_only_the_silence_before_the_first_word(silent: int, cuts: list[int]) -> None:
    speech = np.full(1000, 5000, dtype="<i2")
    whole = np.concatenate((np.zeros(silent, dtype="<i2"), speech, np.zeros(500, dtype="<i2"))).tobytes()
    cutter, played, position = LeadingSilence(8000), b"", 0
    for cut in [*cuts, len(whole)]:
        played += cutter.feed(whole[position : position + 2 * cut])
        position += 2 * cut
    assert played == whole[2 * max(0, silent - 80) :]


def test_silence_alone_is_not_played() -> None:
    assert LeadingSilence(8000).feed(bytes(16000)) == b""
