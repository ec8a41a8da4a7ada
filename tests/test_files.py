"""Nothing is left half-written, and what is wrong with an input names file, line and column."""

import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskscribe import files
from riskscribe.errors import InputError
from riskscribe.policy import Policy, default_policy


def test_a_written_file_can_be_read_by_others(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    files.write_text(path, "逾\r\n")
    assert path.read_bytes() == "逾\r\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("text", ["new \ud800", None])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, text):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises((InputError, TypeError)):
        files.write_text(path, text)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"a\.txt: no space left on device"):
        files.write_text(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_what_replaces_a_file_is_seen_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with files.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        assert temporary.parent == path.parent and temporary.name.startswith(".a.bin.") and not path.exists()
    assert path.read_bytes() == b"half" and os.listdir(path.parent) == ["a.bin"]
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_bytes(b"other")
        raise ZeroDivisionError
    assert path.read_bytes() == b"half" and os.listdir(path.parent) == ["a.bin"]
    with pytest.raises(InputError, match=r"a\.bin/b: "), files.replacing(path / "b"):
        pass


def test_lines_are_written_one_after_another(tmp_path):
    path = tmp_path / "a.jsonl"
    sizes = []

    def rows():
        for i in range(2000):
            sizes.append(sum(one.stat().st_size for one in tmp_path.iterdir()))
            yield {"text": "x" * 100, "i": i}

    files.write_lines(path, rows())
    assert sizes[0] == 0 < sizes[-1], "the first rows are on disk before the last ones are made"
    assert [row["i"] for row in files.read_lines(path)] == list(range(2000))


def test_rows_that_fail_leave_the_old_file(tmp_path):
    path = tmp_path / "a.jsonl"
    files.write_lines(path, [{"a": 1}])
    with pytest.raises(TypeError):
        files.write_lines(path, iter([{"a": 2}, {"a": object()}]))
    assert files.read_lines(path) == [{"a": 1}] and os.listdir(tmp_path) == ["a.jsonl"]


def refuse(error: type[OSError]):
    def opened(*_, **__):
        raise error(13, "Permission denied")

    return opened


def test_what_the_system_refuses_names_the_file(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    cases = [
        (files.read_text, tmp_path / "none.json", "none.json: no such file"),
        (files.read_text, tmp_path, "is a folder, a file is needed"),
        (files.read_text, tmp_path / "file" / "a.json", "file/a.json: not a directory"),
        (lambda path: files.write_text(path, ""), tmp_path / "file" / "a.json", "file/a.json: "),
        (lambda path: files.write_text(path, ""), tmp_path, "is a folder, a file is needed"),
    ]
    for call, path, message in cases:
        with pytest.raises(InputError, match=message):
            call(path)
    monkeypatch.setattr("pathlib.Path.read_text", refuse(PermissionError))
    with pytest.raises(InputError, match="file: permission denied"):
        files.read_text(tmp_path / "file")


JSON = [
    (b'{"a": 1,\n "b": }', r"a\.json: line 2, column 7: not JSON \(expecting value\)"),
    (b"", r"a\.json: line 1, column 1: not JSON"),
    (b"[1] [2]", r"line 1, column 5: not JSON \(extra data\)"),
    (b"[NaN]", r"a\.json: NaN is not a number; use a finite value"),
    (b"[" * 100_000, r"a\.json: nested too deeply"),
    (b"1" * 5000, r"a\.json: an integer is too long"),
    (b'["\xff"]', r"a\.json: byte 2 is not UTF-8; save the file as UTF-8"),
]


@pytest.mark.parametrize(("content", "message"), JSON)
def test_bad_json_names_its_place(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as refusal:
        files.read_json(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": }', "line 3, column 7: not JSON"),
        (b"[Infinity]", "line 3: Infinity is not a number"),
        (b"9" * 5000, "line 3: an integer is too long"),
        (b"[" * 100_000, "line 3: nested too deeply"),
    ],
)
def test_bad_lines_name_their_place(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n\n' + line + b"\n")
    with pytest.raises(InputError, match=message):
        files.read_lines(path)


YAML = [
    ("a: [1,\nb: 2", r"line 2, column 5: not YAML \(.*\)"),
    ("a: 1\n  b: 2", "line 2, column 4: not YAML"),
    ("!!python/object:os.system {}", "line 1, column 1: not YAML"),
    ("{[a]: 1}", "line 1, column 2: not YAML"),
    ("expires: 2024-02-30", r"a\.yaml: not YAML \(day is out of range for month\)"),
    ("a: " + "9" * 5000, r"a\.yaml: not YAML"),
    ("a: \x00", r"a\.yaml: not YAML"),
    ("[" * 1000, r"a\.yaml: nested too deeply"),
]


@pytest.mark.parametrize(("text", "message"), YAML)
def test_bad_yaml_names_its_place(tmp_path, text, message):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as refusal:
        files.read_yaml(path)
    assert "\n" not in str(refusal.value)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False)), max_size=5))
def test_lines_come_back_as_they_were_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    files.write_lines(path, rows)
    assert files.read_lines(path) == rows


def test_lines_take_a_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}')
    assert files.read_lines(path) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("field", ["a\nb", "a\u2028b", "a\ud800b"])
def test_a_refusal_is_one_line_a_terminal_can_show(field):
    with pytest.raises(InputError) as refusal:
        files.validate(Policy, default_policy().model_dump() | {field: 1}, "policy.yaml")
    assert str(refusal.value).startswith("policy.yaml: field ")
    assert len(str(refusal.value).splitlines()) == 1 and str(refusal.value).encode()


def test_a_refusal_names_the_first_field_and_how_many_more():
    with pytest.raises(InputError, match=r"policy.yaml: field version: Field required \(and 12 more\)"):
        files.validate(Policy, {}, "policy.yaml")


def test_hashes():
    assert files.sha256_text("abc").startswith("ba7816bf")
    assert files.sha256(__file__) == files.sha256_text(files.read_text(__file__))


def test_half_a_surrogate_pair_is_named_and_nothing_is_written(tmp_path):
    (tmp_path / "a.jsonl").write_text("before")
    with pytest.raises(InputError, match=r"a\.jsonl: a text holds half a surrogate pair"):
        files.write_lines(tmp_path / "a.jsonl", [{"text": "good"}, {"text": "\ud800"}])
    assert [one.name for one in tmp_path.iterdir()] == ["a.jsonl"] and (tmp_path / "a.jsonl").read_text() == "before"
