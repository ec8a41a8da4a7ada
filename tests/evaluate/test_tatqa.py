"""TAT-QA's format as sentences on evidence, on an invented document of its shape."""

import json
import subprocess
import sys

import pytest

from riskscribe.errors import InputError
from riskscribe.evaluate import tatqa
from riskscribe.evaluate.facts import read_facts
from riskscribe.evaluate.grounding import ground_text
from riskscribe.evaluate.tables import items, plain

TABLE = [
    ["", "", "Years Ended June 30,", ""],
    ["(in thousands, except per share amounts)", "2019", "2018", "2017"],
    ["Net sales:", "", "", ""],
    ["Fixed (1)", "$ 1,452.4", "$ 1,146.2", "$ 1,036.9"],
    ["Other", "44.1", "56.7", "—"],
    ["Net loss", "(12.5)", "(10.0)", "3.0"],
    ["Gross margin", "40.1%", "38.0%", "37.5%"],
    ["Weighted average shares", "2,000", "2,100", "2,100"],
    ["Diluted earnings per share", "$(0.06)", "$0.04", "$0.10"],
]


def asked(question, answer, derivation="", scale="thousand", answer_type="arithmetic", answer_from="table"):
    return {
        "question": question, "answer": answer, "derivation": derivation, "scale": scale,
        "answer_type": answer_type, "answer_from": answer_from,
    }  # fmt: skip


def read(tmp_path, *questions):
    path = tmp_path / "tatqa.json"
    path.write_text(json.dumps([{"table": {"uid": "t", "table": TABLE}, "questions": list(questions)}]))
    return tatqa.read_tatqa(path)


SAID = {
    "The Fixed net sales in 2019 was {$1,452.4 thousand:rad01}.": asked(
        "What was the Fixed net sales in 2019?", ["$1,452.4"], answer_type="span"
    ),
    "The change in Other in 2019 from 2018 is {-$12.6 thousand:44.1-56.7}.": asked(
        "What is the change in Other in 2019 from 2018?", -12.6, "44.1-56.7"
    ),
    "The percentage change in Fixed from 2018 to 2019 was {26.71%:x}.": asked(
        "What was the percentage change in Fixed from 2018 to 2019?", 26.71, "(1,452.4-1,146.2)/1,146.2", "percent"
    ),
    "The change in the gross margin from 2018 to 2019 was {2.1 percentage points:x}.": asked(
        "What was the change in the gross margin from 2018 to 2019?", 2.1, "40.1%-38.0%", "percent"
    ),
    "The average net loss for 2018 and 2019 was {-$11.25 thousand:x}.": asked(
        "What was the average net loss for 2018 and 2019?", -11.25, "[(12.5) + (10.0)] / 2"
    ),
    "In 2019, the ratio of Fixed to Other is {32.93:x}.": asked(
        "In 2019, what is the ratio of Fixed to Other?", 32.93, "1,452.4/44.1", ""
    ),
    "The percentage change in Other from 2018 to 2019 was {-22.22%:x}.": asked(
        "What was the percentage change in Other from 2018 to 2019?", -22.22, "(44.1-56.7)/56.7*100", "percent"
    ),
    "Other in 2019 was {3.04%:x} of Fixed.": asked(
        "What percentage of Fixed was Other in 2019?", 3.04, "44.1/1,452.4", "percent"
    ),
}


@pytest.mark.parametrize("sentence", SAID)
def test_a_question_and_its_answer_make_a_true_sentence(tmp_path, sentence):
    (table,), left_out = read(tmp_path, SAID[sentence])
    assert [plain(one) for one in table.sentences] == [plain(sentence)]
    assert not left_out


LEFT_OUT = {
    tatqa.NO_SENTENCE: asked("Which year was Other the largest?", ["2018"], answer_type="span"),
    tatqa.NO_NUMBER: asked("What was Other in 2019?", ["see note"], answer_type="span"),
    tatqa.NO_CELLS: asked("What was the change in Other?", 7.0, "51.0-44.0"),
    tatqa.NO_RESULT: asked("What was the change in Other?", 12.0, "44.1-56.7"),
}


@pytest.mark.parametrize("reason", LEFT_OUT)
def test_what_makes_no_true_sentence_is_left_out_and_counted(tmp_path, reason):
    found, left_out = read(tmp_path, LEFT_OUT[reason])
    assert found == []
    assert left_out == {reason: 1}


def test_a_question_without_an_answer_is_left_out(tmp_path):
    assert read(tmp_path, asked("What was Other in 2019?", [], answer_type="span")) == ([], {tatqa.NO_NUMBER: 1})


def test_a_number_that_stands_in_the_table_twice_is_left_out_unless_the_question_names_it(tmp_path):
    both = asked("What was the weighted average shares?", ["2,100"], answer_type="span")
    one = asked("What was the weighted average shares in 2018?", ["2,100"], answer_type="span")
    (table,), left_out = read(tmp_path, both, one)
    assert [plain(one) for one in table.sentences] == ["The weighted average shares in 2018 was 2,100 thousand."]
    assert left_out == {tatqa.NO_CELLS: 1}


def test_cells_are_evidence_with_their_headers_units_and_signs(tmp_path):
    (table,), _ = read(tmp_path, next(iter(SAID.values())))
    rows = {label: (value, unit, currency) for label, value, unit, currency in table.rows.values()}
    assert rows["Net sales: Fixed Years Ended June 30 2019"] == (1452.4, "USD thousand", "USD")
    assert rows["Net sales: Net loss Years Ended June 30 2018"] == (-10.0, "USD thousand", "USD")
    assert rows["Net sales: Gross margin Years Ended June 30 2017"] == (37.5, "%", None)
    assert rows["Weighted average shares Years Ended June 30 2019"] == (2000, "thousand shares", None)
    assert rows["Diluted earnings per share Years Ended June 30 2019"] == (-0.06, "USD per share", "USD")


def test_a_long_table_and_an_empty_row_are_read(tmp_path):
    rows = [["", "2019"], [], *([f"Line {chr(97 + i % 26)}{i}", str(1000 + i)] for i in range(700))]
    question = asked("What was Line c652 in 2019?", ["1,652"], answer_type="span")
    path = tmp_path / "long.json"
    path.write_text(json.dumps([{"table": {"uid": "t", "table": rows}, "questions": [question]}]))
    (table,), _ = tatqa.read_tatqa(path)
    assert len(table.rows) == 700


def test_its_sentences_are_judged_and_planted_like_any_others(tmp_path):
    (table,), _ = read(tmp_path, *SAID.values())
    made = [*items(table, 1)]
    assert {one.kind for one in made if one.fault} >= {"value", "scale", "sign", "wrong_derivation"}
    facts = read_facts(table.evidence(), table.table)
    for one in made:
        if one.kind == "as written" and one.cited:
            assert all(number.verdict != "unsupported" for number in ground_text(one.text, facts)), one.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "must be a list of objects with table and questions"),
        ('[{"table": {"uid": "t", "table": [[1]]}, "questions": []}]', "document 1: field table.table.0.0"),
        ("[1]", "document 1"),
    ],
)
def test_another_file_is_a_clear_error(tmp_path, content, said):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r".*") as error:
        tatqa.read_tatqa(path)
    assert said in str(error.value)


def benched(*options):
    command = [sys.executable, "-m", "riskscribe.evaluate.bench", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_benchmark_says_what_is_wrong_with_a_file(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("{}")
    done = benched("--tatqa", path)
    assert done.returncode == 2
    assert "must be a list of objects with table and questions" in done.stderr


def test_the_benchmark_writes_its_own_command_and_keeps_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Words\n")
    done = benched("--tatqa", tmp_path / "any.json", "--page", page)
    assert (done.returncode, page.read_text()) == (2, "# Words\n")
    assert "--tatqa" in done.stderr
    read(tmp_path, *SAID.values())
    assert benched("--tatqa", tmp_path / "tatqa.json", "--out", tmp_path / "out").returncode == 0
    told = json.loads((tmp_path / "out" / "summary.json").read_text())["command"]
    assert told.startswith("python -m riskscribe.evaluate.bench --tatqa ")
