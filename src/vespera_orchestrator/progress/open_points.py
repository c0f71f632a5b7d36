"""What a report says about itself: what it leaves open, and how its tests ended. Pure.

It is recognised by headings, labels, open items of checklists, and marks such as TODO, in the
languages of `documents.vocabulary`. What is code is left out.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._text import one_line
from vespera_orchestrator.documents.markdown import (
    HeadedPart,
    headed_parts,
    labelled_lines,
    lines_outside_code,
)
from vespera_orchestrator.documents.vocabulary import UNSEPARATED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split("|"))


_ALONE: Final = frozenset(
    _phrases(
        "open|gaps|limits|limitations|missing|remaining|outstanding|unresolved|follow-up|follow-ups|"
        "todo|todos|to do|to-do|caveats|"
        "offen|lücken|grenzen|einschränkungen|unerledigt|ungeklärt|zu tun|"
        "lacunes|limites|à faire|en suspens|"
        "pendiente|pendientes|lagunas|límites|limitaciones|por hacer|"
        "pendente|pendentes|pendências|limitações|a fazer|por fazer|em aberto|"
        "открыто|пробелы|ограничения|недоработки|осталось|"
        "課題|制限|制約|制限事項|残件|宿題|"
        "局限|限制|不足|待办|待辦|待定"
    )
)
"""A heading that is one of these and nothing else. Within a longer one they may mean anything."""
_ANYWHERE: Final = _phrases(
    "open points|open questions|open issues|open items|still open|left open|known gaps|"
    "known issues|known limitations|known problems|known bugs|not done|not yet done|"
    "not implemented|left to do|remaining work|remaining tasks|what is missing|"
    "what's missing|next steps|follow-up tasks|unresolved questions|"
    "offene punkte|offenen punkte|offene fragen|offene aufgaben|offene probleme|noch offen|"
    "offen geblieben|bekannte lücken|bekannte probleme|bekannte fehler|bekannte einschränkungen|"
    "nicht erledigt|noch zu tun|noch nicht umgesetzt|was fehlt|fehlt noch|nächste schritte|"
    "points ouverts|points en suspens|questions ouvertes|reste à faire|problèmes connus|"
    "limites connues|limitations connues|lacunes connues|non résolu|non résolus|pas encore fait|"
    "ce qui manque|prochaines étapes|"
    "puntos abiertos|puntos pendientes|cuestiones abiertas|preguntas abiertas|tareas pendientes|"
    "asuntos pendientes|queda por hacer|sin resolver|problemas conocidos|limitaciones conocidas|"
    "lo que falta|próximos pasos|"
    "pontos em aberto|pontos pendentes|questões em aberto|perguntas em aberto|tarefas pendentes|"
    "falta fazer|não resolvido|não resolvidos|problemas conhecidos|limitações conhecidas|"
    "o que falta|próximos passos|"
    "открытые вопросы|открытые пункты|не сделано|осталось сделать|что осталось|известные проблемы|"
    "известные ограничения|нерешенные вопросы|следующие шаги|"
    "未解決|未完了|未対応|未着手|未決|残課題|残タスク|既知の問題|既知の不具合|既知の制限|やること|"
    "今後の課題|次のステップ|"
    "未解决|未完成|未决|待处理|待解决|待办事项|遗留问题|已知问题|已知限制|尚未|下一步|還沒|"
    "待解決|待處理|待辦事項|遺留問題|已知問題|已知限制"
)
"""A heading that contains one of these, as whole words where words are separated."""
_NOTHING: Final = frozenset(
    _phrases(
        "none|nothing|no|n/a|na|-|\u2013|\u2014|nil|none known|nothing is open|nothing left|"
        "keine|keines|nichts|nein|entfällt|aucun|aucune|rien|néant|ninguno|ninguna|nada|"
        "nenhum|nenhuma|нет|ничего|отсутствуют|なし|無し|特になし|ありません|無|无|没有|沒有"
    )
)
"""Words that say that nothing is open."""
_TESTS: Final = frozenset(
    _phrases(
        "test|tests|test results|testing|tests run|testergebnisse|testergebnis|résultats des tests|"
        "pruebas|resultados de las pruebas|testes|resultados dos testes|тесты|результаты тестов|"
        "テスト|テスト結果|测试|测试结果|測試|測試結果"
    )
)
"""Headings and labels under which a report says how its tests ended."""

_BULLET: Final = re.compile(r"(\s*)(?:[-*+]|\d+[.)])\s+(.*)")
_CHECKBOX: Final = re.compile(r"\[([ xX])\]\s+(.*)")
_CODE_SPAN: Final = re.compile(r"(?<!`)(`+)(?!`).*?[^`]\1(?!`)")
_MARK: Final = re.compile(r"(?:^\W*|\b)(?:TODO|FIXME|XXX)(?:\([^)]*\))?\s*[:\uff1a]\s*(\S.*)")
"""Marks as programmers set them. Without a colon they are words like any other."""
_BOLD_LINE: Final = re.compile(r"^\s*(\*\*|__)([^*_:\uff1a]{1,60})\1\s*$", re.MULTILINE)
_WORD: Final = re.compile(r"[^\W_]+")
_EDGE: Final = re.compile(r"^[\W\d_]+|[\W_]+$")
"""Numbers, signs and emoji around a heading."""
_COUNTED: Final = re.compile(
    r"\b\d+ (?:tests? )?(?:passed|passing|failed|failing)\b", re.IGNORECASE
)
_YO: Final = ("\N{CYRILLIC SMALL LETTER IO}", "\N{CYRILLIC SMALL LETTER IE}")
"""Two letters of which the first is often written as the second."""


def open_points(report: str) -> list[str]:
    """Return what a report leaves open, each point on one line, in the report's own words."""
    text = _BOLD_LINE.sub(r"\1\2:\1", report)
    points: dict[str, None] = {}
    for point in _all_points(text):
        line = one_line(point, 400)
        if line and _folded(line) not in _NOTHING:
            points[line] = None
    return list(points)


def words_on_tests(report: str) -> str:
    """Return what a report says about its tests, on one line; empty if it says nothing."""
    text = _BOLD_LINE.sub(r"\1\2:\1", report)
    for title, words in labelled_lines(text).items():
        if _folded(title) in _TESTS:
            return one_line(words, 200)
    for part in headed_parts(text):
        if _folded(part.title) in _TESTS:
            return one_line(next(_paragraphs(part.text.split("\n")), ""), 200)
    counted = [line for line in report.splitlines() if _COUNTED.search(line)]
    return one_line(counted[-1].strip("= \t"), 200) if counted else ""


def _all_points(text: str) -> Iterator[str]:
    for part in headed_parts(text):
        if _names_what_is_open(part.title):
            yield from _points_of(part)
    for title, words in labelled_lines(text).items():
        if _names_what_is_open(title):
            yield words
    lines = lines_outside_code(text)
    for item, _ in _items(lines):
        box = _CHECKBOX.match(item)
        if box is not None and box[1] == " ":
            yield box[2]
    for line in lines:
        mark = _MARK.search(_CODE_SPAN.sub("", line))
        if mark is not None:
            yield mark[1]


def _points_of(part: HeadedPart) -> Iterator[str]:
    """Yield the items of its list or, without one, its paragraphs."""
    lines = lines_outside_code(part.text)
    if part.is_label:
        lines = _first_block(lines)
    items = [item for item, is_nested in _items(lines) if not is_nested]
    if not items:
        paragraphs = _paragraphs(line for line in lines if not line.startswith("#"))
        yield from (each for each in paragraphs if not _is_labelled_point(each))
    for item in items:
        box = _CHECKBOX.match(item)
        if box is None:
            yield item
        elif box[1] == " ":
            yield box[2]


def _is_labelled_point(paragraph: str) -> bool:
    """Tell whether a paragraph is a label with its point, which is a point of its own."""
    return any(map(_names_what_is_open, labelled_lines(paragraph)))


def _first_block(lines: list[str]) -> list[str]:
    """Return the first list or paragraph: more does not belong to a label."""
    block: list[str] = []
    for line in lines:
        is_list = bool(block) and _BULLET.match(block[0]) is not None
        is_more = _BULLET.match(line) is not None or line.startswith((" ", "\t"))
        is_blank = not line.strip()
        if block and ((is_blank and not is_list) or (is_list and not is_blank and not is_more)):
            break
        if not is_blank:
            block.append(line)
    return block


def _items(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Yield each item of lists with the lines that it goes on over, and whether it is nested."""
    item, is_nested = "", False
    for line in lines:
        bullet = _BULLET.match(line)
        if item and bullet is None and line.startswith((" ", "\t")):
            item += f" {line.strip()}"
            continue
        if item:
            yield item, is_nested
        item = "" if bullet is None else bullet[2].strip()
        is_nested = bullet is not None and bool(bullet[1])
    if item:
        yield item, is_nested


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            paragraph.append(line.strip())
        elif paragraph:
            yield " ".join(paragraph)
            paragraph = []


def _names_what_is_open(title: str) -> bool:
    folded = _folded(title)
    if folded in _ALONE:
        return True
    return any(_contains(folded, phrase) for phrase in _ANYWHERE)


def _contains(folded: str, phrase: str) -> bool:
    if UNSEPARATED.search(phrase):
        return phrase in folded
    return _words(phrase) in _words(folded)


def _words(text: str) -> str:
    """Return the words of a text between single spaces, so that only whole ones are found."""
    return f" {' '.join(_WORD.findall(text))} "


def _folded(title: str) -> str:
    """Return a title without case, numbers and signs around it."""
    folded = unicodedata.normalize("NFKC", title).casefold().replace(*_YO)
    folded = folded.replace("\u2019", "'").strip()
    return folded if folded in _NOTHING else _EDGE.sub("", folded)
