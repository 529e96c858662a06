from __future__ import annotations

import re

import pytest

from models import catalogue
from models.catalogue import DEFAULTS, MODELS, Model, ModelKind
from models.errors import UnknownModel


@pytest.mark.parametrize("entry", MODELS.values(), ids=lambda entry: entry.name)
def test_every_file_is_pinned_and_its_parts_are_the_whole_of_it(entry: Model) -> None:
    assert entry.files
    assert entry.licence
    if entry.main_file:
        assert entry.main_file in {file.name for file in entry.files}
    for file in entry.files:
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert sum(part.size for part in file.parts) == file.size
        assert not file.name.startswith("/")
        assert ".." not in file.name
        # A moving branch would serve other bytes tomorrow.
        assert "/main/" not in file.upstream
        assert "/master/" not in file.upstream


def test_defaults_cover_every_part_of_a_call() -> None:
    assert {MODELS[name].kind for name in DEFAULTS} == set(ModelKind)


def test_unknown_name_lists_the_names_there_are() -> None:
    with pytest.raises(UnknownModel, match=r"whisper-huge.*whisper-base"):
        catalogue.model("whisper-huge")
