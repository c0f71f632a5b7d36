"""The words by which headings, kinds and tags show what a text is about, in eight languages.

A word stands for a topic when it begins like one of the topic's stems, in any case. Chinese and
Japanese do not separate words, so there a stem may stand anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs

if TYPE_CHECKING:
    from collections.abc import Iterable


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


STEMS: Final[dict[str, tuple[str, ...]]] = {
    "decision": _words(
        "decision adr entscheid décision decisión decisão decisões решени 決定 決断 决定 决策"
    ),
    "design": _words(
        "architect architekt entwurf design conception diseño arquitect arquitet projeto "
        "архитектур проектирован アーキテクチャ 設計 架构 設計 设计"
    ),
    "literature": _words(
        "literat littérat literatur bibliogra reference source quelle référence fuente referencia "
        "referência fonte литератур источник библиограф 文献 参考 文獻 资料"
    ),
    "methodology": _words(
        "method protocol procedure methode protokoll vorgehen verfahren méthod protocole método "
        "metodolog protocolo procedimento procedimiento метод протокол методик "
        "方法 手法 手順 プロトコル 方案 步骤"
    ),
    "deviation": _words(
        "deviation amendment abweichung écart déviation desviac desvio отклонен 逸脱 偏离 偏差"
    ),
    "findings": _words(
        "finding result conclusion ergebnis befund erkenntnis résultat constat hallazgo resultado "
        "conclusión achado conclus результат вывод 結果 所見 結論 结果 发现 结论"
    ),
    "place": _words(
        "place location setting ort orte orten schauplatz lieu lugar local cenário мест локаци "
        "場所 舞台 地点 地點 场所"
    ),
    "rule": _words(
        "rule magic law regel gesetz magie règle loi lois regla ley leyes magia regra lei leis "
        "правил закон магия 規則 ルール 魔法 法則 规则 法则"
    ),
    "thing": _words(
        "thing object item artefact artifact gegenstand gegenstände ding objet objeto chose cosa "
        "coisa предмет вещ 道具 物品 アイテム"
    ),
    "world": _words("world welt monde mundo мир 世界 lore history culture geschichte kultur"),
    "characters": _words(
        "character cast protagonist antagonist figur charakter personnage personaje personagem "
        "персонаж геро 登場人物 人物 キャラ 角色"
    ),
    "plot": _words(
        "plot outline synopsis handlung gliederung exposé intrigue trama argumento enredo "
        "esboço сюжет план 筋 あらすじ プロット 大纲 情节 大綱"
    ),
    "chapter": _words(
        "chapter kapitel chapitre capítulo глава 第 章 scene szene scène escena cena сцена draft"
    ),
    "thread": _words(
        "thread open question loose offen faden fäden fil fils hilo fio fios нить нити вопрос "
        "伏線 线索 線索"
    ),
    "act": _words("act acts akt akte acte acto ato atos акт акты 幕"),
}
"""The stems by topic. One of up to three letters stands for the whole word."""

_WORD: Final = re.compile(r"[^\W_]+")
UNSEPARATED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
"""A character of Chinese or Japanese, which do not separate words."""
_SHORT: Final = 3


@attrs.frozen(kw_only=True)
class _Topic:
    """The stems of a topic, by the way they are looked for."""

    beginnings: tuple[str, ...]
    words: frozenset[str]
    anywhere: tuple[str, ...]

    @classmethod
    def of(cls, stems: tuple[str, ...]) -> _Topic:
        anywhere = tuple(stem for stem in stems if UNSEPARATED.search(stem))
        others = [stem for stem in stems if stem not in anywhere]
        return cls(
            beginnings=tuple(stem for stem in others if len(stem) > _SHORT),
            words=frozenset(stem for stem in others if len(stem) <= _SHORT),
            anywhere=anywhere,
        )

    def is_in(self, text: str) -> bool:
        folded = unicodedata.normalize("NFC", text).casefold()
        for word in _WORD.findall(folded):
            if word in self.words or word.startswith(self.beginnings):
                return True
        return any(stem in folded for stem in self.anywhere)


_TOPICS: Final = {name: _Topic.of(stems) for name, stems in STEMS.items()}


def mentions(texts: Iterable[str], topic: str) -> bool:
    """Tell whether a word of *texts* stands for *topic*."""
    return any(map(_TOPICS[topic].is_in, texts))
