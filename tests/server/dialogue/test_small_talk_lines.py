"""Lines that sound like small talk and are not."""

from __future__ import annotations

import pytest

from server.dialogue.small_talk import SmallTalk, small_talk


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("I am a little nervous about coming to see you.", None),
        ("Did you hang up on me?", None),
        ("Okay, see you then.", SmallTalk.GOODBYE),
        ("Great, thanks, see you.", SmallTalk.GOODBYE),
        ("Please hang up now.", SmallTalk.GOODBYE),
    ],
)
def test_a_goodbye_is_one_and_nothing_else_is(line: str, kind: SmallTalk | None) -> None:
    assert small_talk(line) is kind
