"""Folding: what depends on a part stands under its condition, once, and what does not is plain."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.ship.chart.templates import Code, Each, Either, When, every, fold, marked, written

WHOLE: dict[str, Any] = {"a": 1, "b": {"c": 2, "d": 3}, "list": [{"name": "x"}, {"name": "y"}]}


def test_what_no_part_changes_stays_as_it_is() -> None:
    assert fold(WHOLE, [("p", WHOLE), ("q", WHOLE)]) == WHOLE


def test_a_field_that_a_part_adds() -> None:
    without = {**WHOLE, "b": {"c": 2}}
    assert fold(WHOLE, [("p", without)]) == {**WHOLE, "b": {"c": 2, "d": When("p", 3)}}


def test_a_field_that_is_there_only_without_a_part() -> None:
    assert fold({"a": 1}, [("p", {"a": 1, "z": 9})]) == {"a": 1, "z": When("not (p)", 9)}


def test_a_field_that_two_parts_add_needs_both() -> None:
    found = fold({"a": 1, "b": 2}, [("p", {"a": 1}), ("q", {"a": 1})])
    assert found == {"a": 1, "b": When("and (p) (q)", 2)}


def test_an_item_that_a_part_adds() -> None:
    without = {**WHOLE, "list": [{"name": "x"}]}
    assert fold(WHOLE, [("p", without)])["list"] == [{"name": "x"}, When("p", {"name": "y"})]


def test_another_value() -> None:
    assert fold({"a": 1}, [("p", {"a": 5})]) == {"a": Either("p", 1, 5)}
    assert fold({"a": {"b": 1}}, [("p", {"a": {}})]) == {"a": Either("p", {"b": 1}, {})}


def test_a_value_that_two_parts_change_cannot_be_folded() -> None:
    with pytest.raises(ValueError, match="depends on p and on q"):
        fold({"a": 1}, [("p", {"a": 2}), ("q", {"a": 3})])


def test_marks_become_values() -> None:
    marks = {"mark-a": ".Values.a", "907": ".Values.n", "mark-s": Each(".Values.s")}
    assert marked("mark-a", marks) == Code(".Values.a | quote")
    assert marked("x-mark-a%", marks) == Code('printf "x-%s%%" (.Values.a) | quote')
    assert marked({"n": 907, "t": "907", "b": True}, marks) == {
        "n": Code("int .Values.n"),
        "t": Code("int64 .Values.n | toString | quote"),
        "b": True,
    }
    assert marked(["mark-s"], marks) == [Each(".Values.s")]
    with pytest.raises(ValueError, match="a mark in a key"):
        marked({"mark-a": 1}, marks)


def test_it_is_written_as_a_template() -> None:
    tree = {
        "kind": "X",
        "count": Either("p", Code("int .Values.n"), 100),
        "map": When("q", {"k": "no"}),
        "list": [When("q", {"name": "on", "v": []}), Each(".Values.s")],
        "block": Code(".Values.b", block=True),
        "either": Either("p", {"k": 1}, {}),
    }
    assert written(tree).splitlines() == [
        "kind: X",
        "count: {{ if p }}{{ int .Values.n }}{{ else }}100{{ end }}",
        "{{- if q }}",
        "map:",
        "  k: 'no'",
        "{{- end }}",
        "list:",
        "  {{- if q }}",
        "  - name: 'on'",
        "    v: []",
        "  {{- end }}",
        "  {{- range .Values.s }}",
        "  - {{ . | quote }}",
        "  {{- end }}",
        "block:",
        "  {{- toYaml .Values.b | nindent 2 }}",
        "{{- if p }}",
        "either:",
        "  k: 1",
        "{{- else }}",
        "either: {}",
        "{{- end }}",
    ]


def test_conditions_together() -> None:
    assert [every([]), every(["p"]), every(["p", "q"])] == ["", "p", "and (p) (q)"]
