"""PDFs written by hand, as small as they can be."""

from __future__ import annotations

import zlib


def pdf(*pages, compressed=False):
    """Return a PDF with a line of text on each page; an empty page for an empty text."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        content = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode() if text else b""
        objects += [_page(5 + 2 * number), _stream(content, compressed=compressed)]
    return _file(objects)


def bomb(size_bytes):
    """Return a PDF whose only page expands to so many bytes."""
    packed = zlib.compress(b"(x) Tj " * (size_bytes // 7), 9)
    page = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(packed), packed)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        _page(5),
        page,
    ]
    return _file(objects)


def _page(content):
    resources = "<< /Font << /F1 3 0 R >> >>"
    fields = f"/Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Resources {resources}"
    return f"<< {fields} /Contents {content} 0 R >>".encode()


def _stream(content, *, compressed):
    filtering = b""
    if compressed:
        content, filtering = zlib.compress(content), b" /Filter /FlateDecode"
    return b"<< /Length %d%b >>\nstream\n%b\nendstream" % (len(content), filtering, content)


def _file(objects):
    content = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = len(content)
    content += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    content += b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return content + trailer % (len(objects) + 1, table)
