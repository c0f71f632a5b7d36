"""Which texts say the same, or nearly."""

from __future__ import annotations

import pytest

from vespera_orchestrator.artifacts.alike import Saying

CHINESE = (
    "昨天晚上我们把服务器上的连接池从五个扩大到十个之后所有请求都在两百毫秒以内返回"
    "没有再出现超时磁盘写入仍然很慢需要换成新的固态硬盘并且在周末之前完成数据迁移和备份验证工作"
)
ENGLISH = " ".join(f"word{number}" for number in range(80))


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (CHINESE, CHINESE.replace("周末", "周日"), True),
        (CHINESE, CHINESE[:40] + CHINESE[:20:-1], False),
        (CHINESE, f"{ENGLISH} {CHINESE[:10]}", False),
        (ENGLISH, ENGLISH.replace("word40", "another"), True),
        (ENGLISH, " ".join(reversed(ENGLISH.split())), False),
    ],
    ids=["one character", "half of it", "another script", "one word", "another order"],
)
def test_texts_are_equal_but_for_a_word(one, other, is_same):
    """One changed word or character makes no other text, also where no spaces set words apart."""
    assert Saying(one).equals(Saying(other)) is is_same
    assert Saying(other).equals(Saying(one)) is is_same
