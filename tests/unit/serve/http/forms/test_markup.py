"""XML: the documented schema and nothing else of what XML can do."""

from __future__ import annotations

import time
from xml.etree import ElementTree

import numpy as np
import pytest

from modelyard.core.errors import InvalidRequest, MissingField, ModelyardError, UnknownField, Unsupported, WrongType
from modelyard.core.rows import from_objects
from modelyard.serve.http.forms.markup import XmlForm, escaped, problem
from tests.models import image_bundle, mixed_signature
from tests.unit.serve.http.forms.hostile import same

MIXED = mixed_signature()
FORM = XmlForm(MIXED, "m", 2)
ROW = '<field name="species">adelie</field><field name="length"> 3 </field>'
WANT = from_objects(MIXED, [{"species": "adelie", "length": 3.0, "mass": None}])


@pytest.mark.parametrize(
    "text",
    [
        f"<rows><row>{ROW}</row></rows>",
        f'<?xml version="1.0" encoding="UTF-8"?>\n<rows>\n  <row>{ROW}<field name="mass"/></row>\n</rows>\n',
        f'<rows xmlns="urn:x" xmlns:xsi="urn:y"><row><!-- no mass -->{ROW}<field name="mass">NA</field></row></rows>',
        '<rows><row><field name="species"><![CDATA[adelie]]></field><field name="length">&#51;</field></row></rows>',
        f"\ufeff<rows><row>{ROW}</row></rows>",
    ],
)
def test_the_same_row(text: str) -> None:
    assert same(FORM.decode(text.encode()), WANT)


BOMB = "<!DOCTYPE r [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
    f"<!ENTITY {chr(98 + at)} '{f'&{chr(97 + at)};' * 10}'>" for at in range(9)
)
REFUSED = {
    "bomb": BOMB + f"]><rows><row>{ROW.replace('adelie', '&j;')}</row></rows>",
    "external entity": f'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><rows><row>{ROW}</row></rows>',
    "external document type": f'<!DOCTYPE r SYSTEM "http://127.0.0.1/r.dtd"><rows><row>{ROW}</row></rows>',
    "parameter entity": f'<!DOCTYPE r [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><rows><row>{ROW}</row></rows>',
    "unknown entity": f"<rows><row>{ROW.replace('adelie', '&x;')}</row></rows>",
    "instruction": f"<?xml-stylesheet href='x'?><rows><row>{ROW}</row></rows>",
    "another root": f"<data><row>{ROW}</row></data>",
    "a prefix": f"<r:rows xmlns:r='urn:x'><row>{ROW}</row></r:rows>",
    "deeper": "<rows><row><field name='species'><b>adelie</b></field></row></rows>",
    "very deep": "<rows>" * 100_000,
    "text outside": f"<rows>x<row>{ROW}</row></rows>",
    "another attribute": f"<rows><row id='1'>{ROW}</row></rows>",
    "no name": "<rows><row><field>1</field></row></rows>",
    "two attributes": "<rows><row><field name='length' type='x'>1</field></row></rows>",
    "sent twice": f"<rows><row>{ROW}{ROW}</row></rows>",
    "cut off": f"<rows><row>{ROW}</row>",
    "two documents": f"<rows><row>{ROW}</row></rows>" * 2,
    "a control character": f"<rows><row>{ROW}\x01</row></rows>",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_xml_can_do_besides_is_refused(case: str) -> None:
    started = time.perf_counter()
    with pytest.raises(InvalidRequest) as caught:
        FORM.decode(REFUSED[case].encode())
    assert "line" in caught.value.detail or "twice" in caught.value.detail
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-7"])
def test_other_encodings_are_refused(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><rows><row>{ROW}</row></rows>'
    with pytest.raises(ModelyardError):
        FORM.decode(text.encode(encoding))


def test_rows_are_refused_as_in_json() -> None:
    with pytest.raises(UnknownField, match="no input 'specie'"):
        FORM.decode(b"<rows><row><field name='specie'>a</field><field name='length'>x</field></row></rows>")
    with pytest.raises(MissingField, match=r"missing input length \(row 1\)"):
        FORM.decode(f"<rows><row>{ROW}</row><row><field name='species'>adelie</field></row></rows>".encode())
    with pytest.raises(WrongType, match=r"got text 'x' \(row 1\)"):
        FORM.decode(f"<rows><row>{ROW}</row><row>{ROW.replace(' 3 ', 'x')}</row></rows>".encode())
    with pytest.raises(Unsupported):
        XmlForm(image_bundle().manifest.signature, "m", 1).decode(b"<rows/>")


def test_answers_read_back() -> None:
    labels = np.array(['<a> & "b"\n', "\x00"], dtype=object)
    outputs = [labels, np.array([[0.1, 0.9], [np.nan, np.inf]], dtype=np.float32)]
    root = ElementTree.fromstring(FORM.encode_full(outputs))
    assert (root.tag, root.attrib) == ("predictions", {"model": "m", "version": "2"})
    told = [{field.get("name"): field.text for field in row} for row in root]
    assert told == [
        {"prediction": '<a> & "b"\n', "probability_small": "0.1", "probability_big": "0.9"},
        {"prediction": "\ufffd", "probability_small": None, "probability_big": None},
    ]
    assert ElementTree.fromstring(FORM.encode(outputs)).attrib == {}


def test_a_problem_is_the_appendix_b_of_rfc_9457() -> None:
    said = {"type": "invalid", "status": 400, "detail": "a < b\x00", "facts": {"known": ["x", 1], "1 bad": None}}
    root = ElementTree.fromstring(problem(said))
    space = "{urn:ietf:rfc:7807}"
    assert root.tag == f"{space}problem"
    assert root.findtext(f"{space}status") == "400"
    assert root.findtext(f"{space}detail") == "a < b\ufffd"
    assert [item.text for item in root.iterfind(f"{space}facts/{space}known/{space}i")] == ["x", "1"]
    assert escaped("\ud800<") == "\ud800&lt;"
    assert problem({"detail": "\ud800"})
