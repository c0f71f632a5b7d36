"""Works that a project knows: from BibTeX files and CSL-JSON. The only door to bibtexparser."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.markdown import inline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DOI: Final = re.compile(r"\b10\.\d{4,9}/[^\s\"'<>`{}|\\]+", re.IGNORECASE)
_PERSON: Final = "person "
"""What the fields are called that each hold one author."""
_OF_VOLUME: Final = ("year", "date", "booktitle", "publisher", "volume", "number")
_LOGO: Final = re.compile(r"\\((?:La|Bib|Con|Xe|Lua|pdf)?TeX)(?![A-Za-z])")
_YEAR_DIGITS: Final = re.compile(r"1[5-9]\d\d|20\d\d")
_YEAR: Final = re.compile(r"\b(1[5-9]\d\d|20\d\d)\b")
_SENTENCE_ENDS: Final = ".,;:!?*_~"
_MOST_AUTHORS: Final = 6
_CONTAINERS: Final = ("journal", "journaltitle", "booktitle", "container-title", "publisher")


@attrs.frozen(kw_only=True)
class Work:
    """A book, an article, or whatever else can be cited."""

    keys: frozenset[str]
    """By which texts cite it."""
    authors: tuple[tuple[str, str], ...] = ()
    """Family name and given names of each."""
    has_more_authors: bool = False
    """Whether a text names it with "et al.", and nothing says who the others are."""
    year: str = ""
    letter: str = ""
    """What tells it from another work of the same authors and year: ``a``, ``b``."""
    title: str = ""
    container: str = ""
    """The journal, the book it is in, or the publisher."""
    place_in_container: str = ""
    """Volume, number and pages."""
    doi: str = ""
    """In lower case, without the address before it."""
    url: str = ""

    @property
    def short_name(self) -> str:
        """How a text names it: authors and year."""
        families = [family for family, _ in self.authors]
        year = self._year_shown
        if not families:
            return f"{self.title or self.doi or self.url} ({year})" if self.year else self.title
        if self.has_more_authors:
            return f"{families[0]} et al. ({year})"
        if len(families) == 1:
            return f"{families[0]} ({year})"
        if len(families) == 2:  # noqa: PLR2004 - two are named, more are counted
            return f"{families[0]} and {families[1]} ({year})"
        return f"{families[0]} et al. ({year})"

    @property
    def _year_shown(self) -> str:
        return f"{self.year}{self.letter}" if self.year else "n.d."

    @property
    def reference(self) -> str:
        """The full reference, as Markdown."""
        parts = []
        if not (self.title or self.doi or self.url):
            return "*Only cited: no bibliography of the project has it.*"
        if self.authors:
            parts.append(f"{inline(_listed(self.authors))} ({self._year_shown}).")
        elif self.year:
            parts.append(f"({self._year_shown}).")
        if self.title and self.title not in (self.doi, self.url):
            parts.append(f"*{inline(self.title)}*.")
        where = ", ".join(filter(None, (self.container, self.place_in_container)))
        if where:
            parts.append(f"{inline(where)}.")
        if self.doi:
            parts.append(f"[doi:{inline(self.doi)}](https://doi.org/{_quoted(self.doi)})")
        elif self.url:
            parts.append(f"<{self.url}>")
        return " ".join(parts)


def _quoted(doi: str) -> str:
    from urllib.parse import quote

    return quote(doi, safe="/:;.-_")


def _listed(authors: tuple[tuple[str, str], ...]) -> str:
    names = []
    for family, given in authors[:_MOST_AUTHORS]:
        initials = " ".join(f"{name[0]}." for name in given.split() if name)
        names.append(f"{family}, {initials}" if initials else family)
    if len(authors) > _MOST_AUTHORS:
        return f"{names[0]} et al."
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def normalized_doi(text: str) -> str:
    """Return a DOI in one spelling; empty if there is none in *text*."""
    match = DOI.search(text)
    if match is None:
        return ""
    doi = match[0].rstrip(_SENTENCE_ENDS)
    for opening, closing in ("()", "[]"):
        while doi.endswith(closing) and doi.count(closing) > doi.count(opening):
            doi = doi[:-1].rstrip(_SENTENCE_ENDS)
    return doi.lower()


# --- BibTeX -----------------------------------------------------------------------


def read_bibtex(text: str) -> list[Work]:
    """Return the works of a BibTeX file. What cannot be read in it is left out."""
    import bibtexparser
    from bibtexparser import middlewares

    # What its modules log quotes the file; a level holds for all of them.
    logger = logging.getLogger("bibtexparser")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        library = bibtexparser.parse_string(
            _LOGO.sub(r"\1", text),
            append_middleware=[
                middlewares.NormalizeFieldKeys(),
                middlewares.SeparateCoAuthors(),
                middlewares.SplitNameParts(),
            ],
        )
        # Last, as braces say what belongs together in a name. Only fields of their own are decoded.
        for entry in library.entries:
            _give_people_fields(entry)
        library = middlewares.LatexDecodingMiddleware().transform(library)
    except Exception:  # noqa: BLE001 - a file that cannot be read costs only itself
        return []
    finally:
        logger.setLevel(level)
    texts = {entry.key.casefold(): _texts_of(entry) for entry in library.entries}
    return [_bibtex_work(entry, texts) for entry in library.entries]


def _texts_of(entry: Any) -> dict[str, str]:
    return {field.key: field.value for field in entry.fields if isinstance(field.value, str)}


def _give_people_fields(entry: Any) -> None:
    """Let each author, or editor where there is none, be a field of the entry."""
    from bibtexparser.model import Field

    fields = entry.fields_dict
    people = fields.get("author") or fields.get("editor")
    for number, person in enumerate(people.value if people else ()):
        if not isinstance(person, str):
            entry.set_field(Field(key=f"{_PERSON}{number}", value=person))


def _bibtex_work(entry: Any, texts: Mapping[str, Mapping[str, str]]) -> Work:
    """Return a work. What its entry leaves out is that of the volume that it refers to.

    Args:
        entry: The entry.
        texts: The fields of all entries, by key in lower case.
    """
    people = [field.value for field in entry.fields if field.key.startswith(_PERSON)]
    own = _texts_of(entry)
    volume = texts.get(own.get("crossref", "").casefold(), {})
    of_volume = {key: value for key, value in volume.items() if key in _OF_VOLUME}
    if "title" in volume:
        of_volume = {"booktitle": volume["title"], **of_volume}
    text = of_volume | own
    return Work(
        keys=frozenset({entry.key}),
        authors=tuple(map(_family_and_given, people)),
        year=_year_in(text.get("year", "") or text.get("date", "")),
        title=_flat(text.get("title", "")),
        container=_flat(_first(text, _CONTAINERS)),
        place_in_container=_place(
            text.get("volume", ""), text.get("number", ""), text.get("pages", "")
        ),
        doi=normalized_doi(text.get("doi", "") or text.get("url", "")),
        url=_safe_url(text.get("url", "")),
    )


def _year_in(text: str) -> str:
    r"""Return the year; behind what only sorts, as in ``{\noopsort{1973b}}1981``, the last."""
    year = _YEAR.search(text)
    if year is not None:
        return year[0]
    digits = _YEAR_DIGITS.findall(text)
    return digits[-1] if digits else ""


def _family_and_given(person: Any) -> tuple[str, str]:
    family = " ".join([*person.von, *person.last])
    given = " ".join(person.first)
    return _flat(family), _flat(given)


def _first(fields: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((fields[name] for name in names if fields.get(name)), "")


def _place(volume: str, number: str, pages: str) -> str:
    place = _flat(volume)
    if number:
        place += f"({_flat(number)})"
    if pages:
        shown = _flat(pages).replace("--", "\u2013")
        place = f"{place}, {shown}" if place else f"pp. {shown}"
    return place


def _flat(text: str) -> str:
    return " ".join(text.replace("{", "").replace("}", "").split())


def _safe_url(url: str) -> str:
    is_plain = re.fullmatch(r"https?://[^\s<>\"'`]+", url.strip())
    return url.strip() if is_plain else ""


# --- CSL-JSON ---------------------------------------------------------------------


def read_csl(text: str) -> list[Work]:
    """Return the works of a CSL-JSON file; none if it is something else."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(items, list):
        return []
    return [_csl_work(item) for item in items if _is_csl(item)]


def _is_csl(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("title"), str) and "type" in item


def _csl_work(item: dict[str, Any]) -> Work:
    people = item.get("author") or item.get("editor") or []
    authors = tuple(_csl_name(person) for person in people if isinstance(person, dict))
    year = _YEAR.search(json.dumps(item.get("issued", "")))
    return Work(
        keys=frozenset({str(item.get("id", ""))} - {""}),
        authors=authors,
        year="" if year is None else year[0],
        title=_flat(item["title"]),
        container=_flat(str(item.get("container-title") or item.get("publisher") or "")),
        place_in_container=_place(
            *(str(item.get(name) or "") for name in ("volume", "issue", "page"))
        ),
        doi=normalized_doi(str(item.get("DOI") or "")),
        url=_safe_url(str(item.get("URL") or "")),
    )


def _csl_name(person: dict[str, Any]) -> tuple[str, str]:
    particle = person.get("non-dropping-particle") or person.get("dropping-particle") or ""
    family = f"{particle} {person.get('family') or person.get('literal') or ''}"
    return _flat(family), _flat(str(person.get("given") or ""))


# --- citations --------------------------------------------------------------------

_LATEX: Final = re.compile(r"\\[a-zA-Z]*cite[a-zA-Z]*\*?(?:\[[^\]]*\]){0,2}\{([^}]+)\}")
_PANDOC: Final = re.compile(r"(?<![\w@])-?@\{?(\w(?:[\w:.#$%&+?<>~/-]*\w)?)\}?")
_PANDOC_GROUP: Final = re.compile(r"(?<!!)\[([^\[\]@]*-?@[^\[\]]+)\](?!\()")
"""One or several works between brackets, such as ``[see @knuth97, vol. 1; @shannon48]``."""
_ARXIV: Final = re.compile(r"\barXiv:(\d{4}\.\d{4,5})(?:v\d{1,3})?", re.IGNORECASE)
_URL: Final = re.compile(r"\bhttps?://[^\s\"'<>`\[\]{}|\\^]+")
_LISTED_LINK: Final = re.compile(
    r"^[ \t]*(?:[-*+]|\d{1,3}[.)])[ \t]+\[(?P<words>[^\[\]]+)\]\((?=https?://)", re.MULTILINE
)
"""What stands before the address of a link that begins an item of a list."""
_UNSEPARATED: Final = r"\u30a1-\u30fa\u30fc\u3400-\u9fff\u3005"
"""Katakana and Han characters, in which names of Japanese and Chinese are written."""
_NAME: Final = rf"[^\W\d_a-zß-öø-ÿа-яё{_UNSEPARATED}][\w'\u2019-]{{1,40}}"
_OTHERS: Final = r"et al\.?|& al\.|u\. ?a\.|et coll\.|y otros|e outros|[ye] cols?\.|и др\."
_YEAR_IN_TEXT: Final = r"(?P<year>(?:1[5-9]|20)\d\d)[a-z]?"
_NARRATIVE: Final = re.compile(
    rf"(?P<family>(?:\b(?:von|van|de|du|la|da|do|dos) )*{_NAME})"
    rf"(?:,? (?P<others>{_OTHERS})| (?:and|&|und|et|y|e|и) (?P<second>{_NAME}))?"
    rf",? \(?{_YEAR_IN_TEXT}\)"
)
"""``Smith and Jones (2020)`` and ``(Smith, 2020)``."""
_UNSEPARATED_NARRATIVE: Final = re.compile(
    rf"(?P<before>[^{_UNSEPARATED}]|^)(?P<names>[{_UNSEPARATED}][{_UNSEPARATED}・·、と]{{0,20}})"
    rf"(?P<others>ほか|ら)?[，,、]? ?[（(]?{_YEAR_IN_TEXT}年?[)）]",
    re.MULTILINE,
)
"""``田中・鈴木（2020）`` and ``（王明，2020）``."""
_BETWEEN_NAMES: Final = re.compile(r"[和与及・·、と]")
_BEHIND_NAMES: Final = re.compile(r"(?:等人|等|他|氏)$")
_NO_NAME: Final = frozenset("据如见按由在而但对从")
"""What begins a sentence before a name, in Chinese, which does not separate words."""
_LONGEST_NAME: Final = 4


@attrs.frozen(kw_only=True)
class Citation:
    """A place at which a text cites a work."""

    key: str = ""
    """By key, as in LaTeX and Pandoc."""
    doi: str = ""
    url: str = ""
    """By address; arXiv counts as one."""
    author: str = ""
    """By the first author's family name, and the year."""
    second_author: str = ""
    has_more_authors: bool = False
    year: str = ""
    title: str = ""
    """The words of a link; empty where it has none."""
    endings: tuple[str, ...] = ()
    """What the author's name may be, where other words stand before it without a space."""
    is_certain: bool = True
    """Whether it is a work, also if no bibliography has it."""

    @property
    def name(self) -> str:
        """What two citations of the same unknown work have in common."""
        return self.doi or self.key or self.url or f"{self.author.casefold()} {self.year}"


def find_citations(text: str) -> list[Citation]:
    """Return the citations in a text, each once, in order."""
    return list(dict.fromkeys(_citations(text)))


def _citations(text: str) -> Iterator[Citation]:
    for match in DOI.finditer(text):
        yield Citation(doi=normalized_doi(match[0]))
    for match in _LATEX.finditer(text):
        for key in match[1].split(","):
            yield Citation(key=key.strip())
    for match in _PANDOC.finditer(text):
        yield Citation(key=match[1])
    for match in _ARXIV.finditer(text):
        yield Citation(url=f"https://arxiv.org/abs/{match[1]}")
    yield from _addresses(text)
    for match in _NARRATIVE.finditer(text):
        yield Citation(
            author=match["family"],
            second_author=match["second"] or "",
            year=match["year"],
            has_more_authors=match["others"] is not None,
        )
    for match in _UNSEPARATED_NARRATIVE.finditer(text):
        yield _unseparated_citation(match)


def _addresses(text: str) -> Iterator[Citation]:
    """Yield the works that a text names by their address.

    A link behind words is a remark in passing, unless an item of a list begins with it.
    """
    listed = {match.end(): match["words"] for match in _LISTED_LINK.finditer(text)}
    for match in _URL.finditer(text):
        address = match[0].rstrip(_SENTENCE_ENDS + ")")
        if DOI.search(address):
            continue
        is_behind_words = text[: match.start()].endswith("](")
        words = listed.get(match.start(), "")
        yield Citation(url=address, title=words, is_certain=bool(words) or not is_behind_words)


def _unseparated_citation(match: re.Match[str]) -> Citation:
    """Return a citation in Japanese or Chinese, where a name may follow other words directly."""
    first = _BETWEEN_NAMES.split(match["names"])[0]
    name = _BEHIND_NAMES.sub("", first)
    endings = [name[-length:] for length in range(min(len(name), _LONGEST_NAME), 0, -1)]
    is_short = len(name) < _LONGEST_NAME or "\u30a0" <= name[0] <= "\u30ff"
    return Citation(
        author=name,
        year=match["year"],
        has_more_authors=match["others"] is not None or name != first,
        endings=tuple(endings),
        is_certain=bool(name) and is_short and name[0] not in _NO_NAME,
    )


def with_names(text: str, short_name: Callable[[str], str]) -> str:
    """Return a text in which keys of works are replaced by authors and years.

    Args:
        text: The text, as for LaTeX or Pandoc.
        short_name: Returns the name of a work by its key, as ``Knuth (1997)``; empty if unknown.
    """

    def in_brackets(name: str) -> str:
        return re.sub(r" \(([^()]*)\)$", r", \1", name)

    def replace_group(match: re.Match[str]) -> str:
        keys = [each[1] for each in _PANDOC.finditer(match[1])]
        if not keys or not all(map(short_name, keys)):
            return match[0]
        named = _PANDOC.sub(lambda each: in_brackets(short_name(each[1])), match[1])
        return f"({named})"

    def replace_key(match: re.Match[str]) -> str:
        return short_name(match[1]) or match[0]

    def replace_command(match: re.Match[str]) -> str:
        names = [short_name(key.strip()) for key in match[1].split(",")]
        if not all(names):
            return match[0]
        is_running = match[0].startswith(("\\citet", "\\textcite"))
        if is_running:
            return ", ".join(names)
        return f"({'; '.join(map(in_brackets, names))})"

    text = _PANDOC_GROUP.sub(replace_group, text)
    return _LATEX.sub(replace_command, _PANDOC.sub(replace_key, text))


def described(citation: Citation) -> Work:
    """Return what is known of a work that only a citation tells of."""
    names = filter(None, (citation.author, citation.second_author))
    authors = tuple((name, "") for name in names)
    title = citation.title or citation.doi or citation.url or citation.key
    return Work(
        keys=frozenset({citation.key} - {""}),
        authors=authors,
        has_more_authors=citation.has_more_authors,
        year=citation.year,
        title="" if authors else title,
        doi=citation.doi,
        url=_safe_url(citation.url),
    )
