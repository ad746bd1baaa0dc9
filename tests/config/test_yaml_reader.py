"""YAML with the line of everything in it, and mistakes in plain words."""

from __future__ import annotations

import pytest
import yaml

from optiinfra_dagster.config.yaml_reader import Mistake, Place, read

TEXT = """\
a:
  - b: 1
    c: [x, yes, 1.5, null, 2026-01-01, "7"]
  - &d
    e: ~
f: *d
"""


@pytest.fixture(params=["C", "Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of PyYAML's parsers: the C one is missing where PyYAML was built without libyaml."""
    if request.param == "Python":
        monkeypatch.delattr(yaml, "CSafeLoader")


@pytest.mark.usefixtures("parser")
def test_data_and_lines() -> None:
    document = read(TEXT)
    assert document.data == {
        "a": [{"b": 1, "c": ["x", True, 1.5, None, "2026-01-01", "7"]}, {"e": None}],
        "f": {"e": None},
    }
    assert document.parsed
    assert document.mistakes == []
    places: list[Place] = [("a",), ("a", 0, "b"), ("a", 0, "c", 2), ("a", 1), ("a", 1, "e"), ("f",)]
    assert [document.line(place) for place in places] == [1, 2, 3, 4, 5, 6]
    assert document.line(("f", "e")) == 6  # behind an alias: where the alias stands
    assert document.line(("a", 0, "missing")) == 2
    assert document.line(("missing",)) == 1


@pytest.mark.usefixtures("parser")
def test_mistakes_name_line_and_place() -> None:
    document = read("a: 1\nb:\n  - c: !x 2\n    c: 3\na: *hunter2\n")
    assert document.parsed
    assert document.data == {"a": 1, "b": [{"c": None}]}
    assert [(mistake.line, mistake.place) for mistake in document.mistakes] == [
        (3, ("b", 0, "c")),
        (4, ("b", 0, "c")),
        (5, ("a",)),
        (5, ("?",)),
    ]
    assert "hunter2" not in str(document.mistakes)


@pytest.mark.usefixtures("parser")
def test_numbers_that_yaml_reads_otherwise_than_people_are_known() -> None:
    odd = ["010", "-07", "0x1F", "0b11", "1:30", "1:30.5", "0_1"]
    usual = ["0", "7", "-7", "0.5", "01.5", "1e3", "1_000", ".5", "08", "'010'", "10:30 h"]
    document = read("".join(f"- {text}\n" for text in (*odd, *usual)))
    assert document.odd_numbers == [(index,) for index in range(len(odd))]


def test_what_could_not_be_read_is_not_complained_of_again() -> None:
    document = read("a: !x {b: 1}\n")
    document.complain(("a",), "is missing", "Write it")
    document.complain(("a", "b"), "is missing", "Write it")
    document.complain(("c",), "is missing", "Write it")
    assert [mistake.place for mistake in document.mistakes] == [("a",), ("c",)]


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: !hunter2!x y", 1),
        ("a:\n\tb: hunter2", 2),
        ("a: b: hunter2", 1),
        ("a: 1\nb: @hunter2", 2),
        ("a: [hunter2, *hunter2", 1),
        ('a: "\\q hunter2"', 1),
        ("%hunter2\na: 1", 1),
        ("a: \x07hunter2", 1),
        ("a: 1\n--- hunter2", 2),
        ("[" * 200, 1),
    ],
)
def test_a_syntax_error_is_told_with_its_line_and_without_the_text(text: str, line: int) -> None:
    document = read(text)
    assert not document.parsed
    assert document.mistakes[-1].line in {line, line + 1}  # the C parser sees an early end one line later
    assert "hunter2" not in str(document.mistakes)


def test_a_mistake_is_one_line_that_spells_its_place() -> None:
    assert str(Mistake(7, ("a", 0, "b-c", "no word"), "is wrong", "Write x")) == "7 a[0].b-c.?: is wrong. Write x."
    assert str(Mistake(7, (), "is wrong", "Write x")) == "7: is wrong. Write x."


def test_a_file_cannot_grow_by_its_aliases() -> None:
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    document = read(f"a0: &a0 [x]\n{levels}")
    assert not document.parsed
    (mistake,) = document.mistakes
    assert (mistake.line, mistake.what) == (6, "refers by * to over 100,000 values, with those before it")


def test_a_thousand_customers_may_share_a_list() -> None:
    document = read("all: &all [a, b, c]\ncustomers:\n" + "  - {regions: *all}\n" * 1000)
    assert document.mistakes == []
