"""The lock between processes: a running owner keeps it, a killed one gives it back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kb import IndexBusy, KnowledgeBase
from tests.kb.word_embedding import WordEmbedding

OWNER = """
import sys
from pathlib import Path
from kb import KnowledgeBase
from tests.kb.word_embedding import WordEmbedding
with KnowledgeBase.open(Path(sys.argv[1]), WordEmbedding()) as base:
    base.add("clinic", [Path(sys.argv[2])])
    print("owned", flush=True)
    sys.stdin.read()
"""


@pytest.mark.loopback
def test_a_killed_owner_leaves_a_whole_index_and_no_lock(tmp_path: Path) -> None:
    document = tmp_path / "hours.md"
    document.write_text("We open at nine.", encoding="utf-8")
    command = [sys.executable, "-c", OWNER, str(tmp_path / "index"), str(document)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "owned\n"
        with (
            pytest.raises(IndexBusy),
            KnowledgeBase.open(tmp_path / "index", WordEmbedding(), lock_timeout_s=0),
        ):
            pass
        owner.kill()
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding(), lock_timeout_s=5) as base:
        assert base.query("clinic", "when do you open")[0].text == "We open at nine."
