from __future__ import annotations

import numpy as np
import pytest

from models.log_mel import FRAME, HOP, RATE_HZ, LogMel, scaled, silence_decades


@pytest.mark.parametrize("hertz", [250.0, 1000.0, 3100.0])
def test_a_tone_is_loudest_in_the_band_of_its_pitch(hertz: float) -> None:
    tone = np.sin(2 * np.pi * hertz * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    decades = LogMel(80).decades(tone)
    assert decades.shape == (80, (RATE_HZ - FRAME) // HOP + 1)
    # Slaney: linear up to 1 kHz (15 mel), 27 mel for each factor of 6.4 above; 80 bands over 45.2 mel.
    mel = hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)
    assert decades.mean(axis=1).argmax() == pytest.approx(mel / 45.2456 * 81 - 1, abs=1)


def test_silence_is_the_floor_and_nothing_lies_further_down_than_eight_decades() -> None:
    mel = LogMel(80)
    assert np.all(mel.decades(np.zeros(2 * FRAME, np.float32)) == np.float32(silence_decades()))
    loud_then_silent = np.concatenate((np.ones(FRAME), np.zeros(4 * FRAME))).astype(np.float32)
    features = scaled(mel.decades(loud_then_silent))
    assert features.max() - features.min() == pytest.approx(2.0, abs=1e-6)
