"""Accept and Content-Type as RFC 9110 reads them."""

from __future__ import annotations

import pytest

from modelyard.serve.http.negotiation import media_type, prefers_xml, ranked, weight

OFFERED = [b"application/json", b"text/csv", b"application/xml", b"text/xml"]


@pytest.mark.parametrize(
    ("accept", "best"),
    [
        (b"*/*", OFFERED),
        (b"text/csv", [b"text/csv"]),
        (b"TEXT/CSV ; Q=0.5 , application/xml", [b"application/xml", b"text/csv"]),
        (b"text/*;q=0.3, text/csv;q=0, */*;q=0.1", [b"text/xml", b"application/json", b"application/xml"]),
        (b"text/*", [b"text/csv", b"text/xml"]),
        (b"application/json;q=0", []),
        (b"image/png", []),
        (b"text/csv;header=absent;q=0.2", [b"text/csv"]),
        (b"text/csv;q=2, text/xml;q=x, application/xml;q=nan", []),
        (b",,;q=1,", []),
        (b"text/csv;q=0.1, text/csv;q=0.9, text/xml;q=0.5", [b"text/csv", b"text/xml"]),
    ],
)
def test_the_best_welcome_type_comes_first(accept: bytes, best: list[bytes]) -> None:
    assert ranked(accept, OFFERED) == best


def test_the_most_specific_range_decides() -> None:
    assert weight(b"text/*;q=0.5, */*;q=0.9", b"text/csv") == 0.5
    assert weight(b"text/*;q=0.5, text/csv;q=0.1", b"text/csv") == 0.1


def test_parameters_of_a_type() -> None:
    assert media_type(b'Text/CSV; Charset="UTF-8";header=absent; ;x') == (
        b"text/csv",
        {b"charset": b"utf-8", b"header": b"absent", b"x": b""},
    )


@pytest.mark.parametrize(
    ("accept", "sent", "xml"),
    [
        (b"", b"", False),
        (b"", b"text/xml; charset=utf-8", True),
        (b"*/*", b"application/xml", True),
        (b"*/*", b"text/csv", False),
        (b"application/xml", b"application/json", True),
        (b"application/problem+xml, */*;q=0.1", b"", True),
        (b"application/json, application/xml", b"application/xml", False),
        (b"text/csv", b"application/xml", False),
    ],
)
def test_who_is_told_of_errors_in_xml(accept: bytes, sent: bytes, xml: bool) -> None:
    assert prefers_xml(accept, sent) is xml
