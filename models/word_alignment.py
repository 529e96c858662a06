"""Says to which word of a text each spoken phoneme belongs, by aligning two rows of phonemes. Sans-I/O, standard library only.

A synthesiser's phonemes carry no words: "of the" is spoken as one group, "8:30" as two. So each word is also turned into
phonemes by itself, and the row of them is laid against the spoken row with the fewest changes (edit distance in a band).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

_BAND: Final = 16
"""How far the rows may drift apart, in phonemes: beyond what any one word changes by its neighbours."""
_VOWELS: Final = frozenset("aeiouyæøœɐɑɒɔəɚɛɜɝɞɘɨɪɯɵʉʊʌᵻ")
_SILENT: Final = frozenset("ˈˌːˑ ")


def word_ends(words: Sequence[Sequence[str]], spoken: Sequence[str], ends: Sequence[int]) -> list[int] | None:
    """Return where each word ends, in the unit of ``ends``, never falling; ``None`` where the rows do not fit.

    ``words`` are the phonemes of each word by itself, ``spoken`` those of the whole, ``ends`` where each of these ends. A
    word without a sound of its own ends with the one before.
    """
    wanted = [(phoneme, index) for index, word in enumerate(words) for phoneme in word if _sounds(phoneme)]
    heard = [(phoneme, end) for phoneme, end in zip(spoken, ends, strict=True) if _sounds(phoneme)]
    owners = _align([phoneme for phoneme, _ in wanted], [phoneme for phoneme, _ in heard])
    if owners is None:
        return None
    result = [0] * len(words)
    for (_, end), owner in zip(heard, owners, strict=True):
        index = wanted[owner][1]
        result[index] = max(result[index], end)
    for index in range(1, len(result)):
        result[index] = max(result[index], result[index - 1])
    return result


def _sounds(phoneme: str) -> bool:
    return phoneme not in _SILENT and unicodedata.category(phoneme[0])[0] not in "PM"


def _align(wanted: Sequence[str], heard: Sequence[str]) -> list[int] | None:
    """Return for each of ``heard`` the index in ``wanted`` that it is laid against, never falling."""
    if not wanted or not heard:
        return None if heard else []
    reach = _BAND + abs(len(wanted) - len(heard))
    far = float(len(wanted) + len(heard) + 1)
    columns = len(wanted) + 1
    previous = [float(j) if j <= reach else far for j in range(columns)]
    steps: list[bytearray] = []
    for i, sound in enumerate(heard, 1):
        current = [far] * columns
        step = bytearray(columns)
        for j in range(max(0, i - reach), min(columns, i + reach + 1)):
            best, how = previous[j] + 1, _EXTRA
            if j:
                both = previous[j - 1] + _change(sound, wanted[j - 1])
                if both <= best:
                    best, how = both, _BOTH
                if current[j - 1] + 1 < best:
                    best, how = current[j - 1] + 1, _MISSING
            current[j], step[j] = best, how
        steps.append(step)
        previous = current
    return _trace(steps, columns - 1)


_EXTRA, _BOTH, _MISSING = 0, 1, 2


def _trace(steps: Sequence[bytearray], j: int) -> list[int]:
    owners: list[int] = []
    for step in reversed(steps):
        while step[j] == _MISSING:
            j -= 1
        owners.append(max(0, j - 1))
        if step[j] == _BOTH:
            j -= 1
    return owners[::-1]


def _change(one: str, other: str) -> float:
    """What it costs to hear ``one`` for ``other``: vowels are reduced all the time, consonants are not."""
    if one == other:
        return 0.0
    return 0.5 if one in _VOWELS and other in _VOWELS else 1.1
