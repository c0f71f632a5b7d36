"""PDFs by pages, notebooks by cells, everything else by its title; and what is left out is said."""

from __future__ import annotations

import base64
import io
import json
import logging

import pytest

import vespera_orchestrator as vespera
from support.pdf_files import bomb, pdf
from vespera_orchestrator import SearchGap
from vespera_orchestrator.artifacts.content import pdfs, readable
from vespera_orchestrator.errors import InvalidInputError, MissingDependencyError

LONG_PAGE = "The thermistor hangs on pin 4. " * 40
PICTURE = {"image/png": "iVBORw0KGgo" * 9_000}
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "markdown",
            "source": ["# Load\n", "Two files."],
            "attachments": {"a": PICTURE},
        },
        {
            "cell_type": "code",
            "source": "plot(corona)\n" + "shape = 7\n" * 100,
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["heliopause\n"]},
                {"output_type": "display_data", "data": {"text/plain": "<Figure>", **PICTURE}},
                {"output_type": "execute_result", "data": {"text/html": "<p>quasar</p>"}},
            ],
        },
        {
            "cell_type": "code",
            "source": ["1 / 0"],
            "outputs": [
                {"output_type": "error", "traceback": ["\x1b[31mZeroDivisionError\x1b[0m: zero"]}
            ],
        },
        {"cell_type": "raw", "source": ""},
    ]
}


@pytest.fixture
def artifacts(tmp_path):
    """Of a home with a session."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Texts of many kinds")
        yield orch.artifacts


@pytest.fixture
def pypdf():
    """The reader; without it there is nothing to read."""
    return pytest.importorskip("pypdf")


def hit_of(artifacts, words):
    """Return the best hit, which is where it says."""
    hit = artifacts.search(words, mode="text")[0]
    assert artifacts.text(hit.artifact_id)[hit.start : hit.end] == hit.text
    return hit


def test_a_notebook_is_found_by_its_cells(artifacts):
    """With what they wrote, in one of its forms, and without pictures, which is said."""
    saved = artifacts.save("Analysis.ipynb", json.dumps(NOTEBOOK))
    places = {word: hit_of(artifacts, word).place for word in ("corona", "heliopause", "quasar")}
    assert set(places.values()) == {"cell 2"}
    assert hit_of(artifacts, "ZeroDivisionError").place == "cells 3-4"
    text = artifacts.text(saved)
    assert text.startswith("[cell 1, markdown]\n# Load\nTwo files.\n[image/png, about 74,250 bytes")
    assert (
        "[output of cell 2]\nheliopause\n<Figure>\n[image/png, about 74,250 bytes, left out]"
        in text
    )
    assert "iVBOR" not in text
    assert "\x1b" not in text
    assert artifacts.index_status().in_part == (saved.id,)
    assert "cell 2, characters" in str(artifacts.search("heliopause")[0])
    assert "cell 2, characters" in str(artifacts.context("heliopause", budget_tokens=500))


@pytest.mark.parametrize(
    "broken", ["{", "[]", "{}", '{"cells": [1]}', '{"cells": [{"outputs": [7]}]}']
)
def test_what_is_no_notebook_is_read_as_it_is(artifacts, broken):
    """Whatever its name says."""
    saved = artifacts.save("Broken.ipynb", broken)
    assert artifacts.text(saved) == broken


def test_a_pdf_is_found_by_its_pages(artifacts, pypdf):
    """Short ones together; words that are parted at the end of a line are found whole."""
    assert pypdf
    artifacts.save("Sheet.pdf", pdf("A quasar", "a walrus", LONG_PAGE, "the end"))
    artifacts.save("Packed", pdf("An ocelot", compressed=True))
    found = {word: hit_of(artifacts, word).place for word in ("quasar", "walrus", "thermistor")}
    assert found == {"quasar": "pages 1-2", "walrus": "pages 1-2", "thermistor": "page 3"}
    assert hit_of(artifacts, "ocelot").text == "[page 1]\nAn ocelot"
    artifacts.save("Paper", "We introduce dia-\nlogues between agents.")
    assert hit_of(artifacts, "dialogues").title == "Paper"
    assert artifacts.verify_index() == []


def test_what_cannot_be_read_of_pdfs_is_named(artifacts, pypdf, monkeypatch):
    """Scans, passwords, damage, and one that would fill the memory; each is found by its title."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("A rhubarb")))
    writer.encrypt("user", "owner", algorithm="RC4-128")
    locked = io.BytesIO()
    writer.write(locked)
    contents = {
        "Scanned map": (pdf("", ""), SearchGap.NO_WORDS),
        "Locked letter": (locked.getvalue(), SearchGap.ENCRYPTED),
        "Damaged drawing": (pdf("A walrus")[:150], SearchGap.DAMAGED),
        "Bottomless book": (bomb(200_000_000), SearchGap.DAMAGED),
    }
    ids = {title: artifacts.save(title, content).id for title, (content, _) in contents.items()}
    assert artifacts.search("rhubarb", mode="text") == []
    gaps = artifacts.index_status().gaps
    for title, (_, gap) in contents.items():
        (hit,) = artifacts.search(title, mode="text")
        assert (hit.title, hit.gap, gaps[ids[title]]) == (title, gap, gap)
        with pytest.raises(InvalidInputError, match="found by title only"):
            artifacts.text(hit.artifact_id)
    monkeypatch.setattr(pdfs, "MOST_BYTES", 100)
    large = artifacts.save("Large letter", pdf("A lynx"))
    assert artifacts.search("large letter")[0].gap is SearchGap.TOO_LARGE
    assert large.id in artifacts.index_status().not_text


def test_a_reader_that_is_stopped_leaves_what_it_read(artifacts, pypdf, monkeypatch):
    """As the system stops one that takes too much time: the pages before are searched."""
    assert pypdf
    monkeypatch.setattr(pdfs, "_MOST_PAGES", 2)
    artifacts.save("Long.pdf", pdf("A quasar", "a walrus", "a lynx"))
    assert hit_of(artifacts, "walrus").gap is SearchGap.PART
    output = b'{"page": "A quasar"}\n{"page": "a wal'
    monkeypatch.setattr(pdfs, "_ask", lambda *_: output)
    text = pdfs.pdf_text(b"", 0, 1000)
    assert (text.text, text.gap) == ("[page 1]\nA quasar", SearchGap.PART)
    monkeypatch.setattr(pdfs, "_ask", lambda *_: b"")
    assert pdfs.pdf_text(b"", 0, 1000).gap is SearchGap.TOO_LARGE


def test_without_the_reader_it_is_said_and_made_up_for_later(artifacts, monkeypatch, caplog):
    """By saving, searching, reading and the status; once it is there, the next search reads it."""
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(pdfs, "reader_folder", lambda: None)
        saved = artifacts.save("Sheet.pdf", pdf("A quasar"))
        assert "'Sheet.pdf' is kept, but will be found by title only" in caplog.text
        (hit,) = artifacts.search("sheet", mode="text")
        assert hit.gap is SearchGap.NO_READER
        assert pdfs.INSTALL in str(hit)
        assert f"{pdfs.INSTALL}: {saved.id}" in str(artifacts.index_status())
        with pytest.raises(MissingDependencyError):
            artifacts.text(saved)
    pytest.importorskip("pypdf")
    assert hit_of(artifacts, "quasar").place == "page 1"
    assert artifacts.index_status().gaps == {}
    assert artifacts.verify_index() == []


def test_what_has_no_text_is_found_by_its_title(artifacts):
    """A picture, an archive, an empty note; a context has nothing of them to show."""
    kettle = artifacts.save("photo of the kettle.png", b"\x89PNG\r\n\x1a\n0000")
    artifacts.save("An empty note", "")
    (hit,) = artifacts.search("kettle", mode="text")
    assert (hit.artifact_id, hit.text, hit.gap) == (kettle.id, "", SearchGap.NOT_TEXT)
    (empty,) = artifacts.search("empty note", mode="text")
    assert (empty.text, empty.gap) == ("", None)
    assert artifacts.context("kettle", budget_tokens=500).passages == ()
    assert artifacts.index_status().not_text == (kettle.id,)


def test_equal_hits_are_folded_and_counted(artifacts):
    """The others are named; in a context they are counted, within the budget."""
    report = (
        "The kettle was filled, heated to ninety-seven degrees and emptied by hand in the lab. "
    )
    first = [artifacts.save(f"Run {number}", report + f"Run {number}.") for number in range(12)]
    artifacts.save("Other", "The kettle is red.")
    hits = artifacts.search("kettle heated degrees", limit=5)
    assert [len(hit.alike) for hit in hits] == [11, 0]
    assert {hits[0].artifact_id, *hits[0].alike} == {each.id for each in first}
    assert "; +11 like it)" in str(hits[0])
    context = artifacts.context("kettle heated degrees", budget_tokens=120)
    assert ("; +11 like it)" in str(context), context.tokens <= 120) == (True, True)


def test_a_passage_in_common_makes_no_repetition(artifacts):
    """As a licence does not make two manuals equal; who has one passage more is no copy."""
    report = "The kettle was filled, heated to ninety-seven degrees and emptied by hand again."
    artifacts.save("Report", report)
    artifacts.save("Manual", f"{report}\n\n" + "Much else is in a manual. " * 80)
    hits = artifacts.search("kettle heated degrees")
    assert {hit.title: hit.alike for hit in hits} == {"Report": (), "Manual": ()}


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("heißt die Größe", "heisst"),
        ("heißt die Größe", "grosse"),
        ("ο βραστήρας", "βραστηρας"),
        ("ＡＢＣ１２３", "abc123"),
        ("abc123", "ＡＢＣ１２３"),
        ("ﾃﾞｰﾀﾍﾞｰｽ", "データ"),
        ("𠮷野家", "𠮷"),
        ("អុកកំសៀវ", "សៀវ"),
        ("İstanbul", "istanbul"),
    ],
)
def test_other_spellings_are_found(artifacts, text, question):
    """Without accents, in another width, and by a rare character."""
    artifacts.save("Other", "a walrus")
    artifacts.save("Right", text)
    hits = artifacts.search(question, mode="text")
    assert [hit.title for hit in hits] == ["Right"]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("shift_jis", "エラー: データベース接続に失敗しました。"),
        ("cp1251", "Насос включён, температура девяносто градусов"),
        ("gbk", "数据库连接失败，请重试三次"),
        ("utf-16-le", "水泵在第五号引脚上工作正常"),
    ],
)
def test_an_unknown_encoding_is_named(artifacts, encoding, text):
    """What is read as Windows-1252 rightly is not."""
    garbled = artifacts.save("Log", text.encode(encoding), media_type="text/plain")
    artifacts.save("Brief", "Größe, Übergabe und café".encode("cp1252"), media_type="text/plain")
    artifacts.save("UTF-8", text)
    artifacts.catch_up()
    assert artifacts.index_status().gaps == {garbled.id: SearchGap.GARBLED}


# --- mails ----------------------------------------------------------------------

MAIL = b"From: ada@kettle.example\nSubject: =?utf-8?q?Gr=C3=B6=C3=9Fe?=\nMIME-Version: 1.0\n"
ENCODED = base64.encodebytes("Das Protokoll vom Nasenbären".encode())
PARTS = MAIL + b"Content-Type: multipart/mixed; boundary=b\n\n--b\n"
PLAIN = b"Content-Type: text/plain\n\nthe lid is tight\n--b\n"
MAILS = {
    "base64": (MAIL + b"Content-Transfer-Encoding: base64\n\n" + ENCODED, "nasenbären", None),
    "quoted": (
        MAIL + b"Content-Transfer-Encoding: quoted-printable\n\nDie Bl=C3=\n=A4tter",
        "blätter",
        None,
    ),
    "latin": (
        MAIL + b"Content-Type: text/plain; charset=latin-1\n\nDas \xc4rgernis",
        "ärgernis",
        None,
    ),
    "unknown charset": (MAIL + b"Content-Type: text/plain; charset=x-no\n\nquokka", "quokka", None),
    "head": (MAIL + b"\nshort", "größe", None),
    "html alone": (MAIL + b"Content-Type: text/html\n\n<p>walrus</p>", "walrus", None),
    "both": (
        PARTS + PLAIN + b"Content-Type: text/html\n\n<p>the lid is tight</p>\n--b--",
        "lid",
        None,
    ),
    "attached": (
        PARTS + PLAIN + b"Content-Type: image/png; name=lid.png\n"
        b"Content-Disposition: attachment\n\nnothing\n--b--",
        "tight",
        SearchGap.ATTACHMENTS,
    ),
    "forwarded": (
        PARTS + b"Content-Type: message/rfc822\n\nSubject: aardvark\n\nold news\n--b--",
        "aardvark",
        None,
    ),
    "no mail": (b"a plain text about an ocelot", "ocelot", None),
    "broken": (b"Subject: x\nFrom: \xff\xfe <\nTo: (((\n\nmeerkat", "meerkat", None),
}


@pytest.mark.parametrize("name", MAILS)
def test_a_mail_is_searched_by_what_it_says(artifacts, name):
    """Decoded, with the mails that it forwards; what is attached is named as not searched."""
    content, query, gap = MAILS[name]
    saved = artifacts.save("Note.eml", content)
    (hit,) = artifacts.search(query, mode="text")
    assert hit.gap == gap
    assert artifacts.text(saved)[hit.start : hit.end] == hit.text
    assert "<p>the lid" not in hit.text


def test_a_secret_in_an_encoded_mail_is_named_as_left(artifacts):
    """No byte of it is in the file, and yet whoever reads the mail reads the secret."""
    secret = "opensesame-4711-ostrich"
    body = base64.encodebytes(f"the key is {secret}".encode())
    mail = artifacts.save("Key.eml", MAIL + b"Content-Transfer-Encoding: base64\n\n" + body)
    proof = artifacts.forget_text(secret, reason="leaked")
    assert mail.id in [left.name for left in proof.remainders]


# --- what a search does not see -------------------------------------------------


def test_a_long_text_is_named_when_it_is_saved_and_when_nothing_matches(
    artifacts, caplog, monkeypatch
):
    """Characters count, not bytes: a text of letters that take three bytes each is not too long."""
    monkeypatch.setattr(readable, "MAX_TEXT_CHARACTERS", 2_000)
    with caplog.at_level(logging.WARNING):
        artifacts.save("Chinese", "用" * 1_500)
        assert not caplog.text
        artifacts.save("Long", "word " * 500 + "zebrafish")
        assert "'Long' is kept, but will be searched in part only" in caplog.text
    assert str(artifacts.search("zebrafish")) == (
        "(none)\n1 text is searched in part or not at all: orch.artifacts.index_status()"
    )
    assert artifacts.search("word").notes == ()


def test_bytes_are_a_text_where_a_file_of_them_would_be(artifacts, tmp_path):
    """A log in Windows-1252 is found, whichever way it was saved."""
    content = "Die Größe überschreitet das Maß".encode("cp1252")
    (tmp_path / "cooker.log").write_bytes(content)
    saved = artifacts.save("kettle.log", content), artifacts.save("Log", tmp_path / "cooker.log")
    assert {each.media_type for each in saved} == {"text/plain"}
    assert artifacts.search("überschreitet", mode="text")[0].alike
