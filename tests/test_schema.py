"""The JSON Schemas in dataset_info/ are the contract's, and every frozen report is valid by them."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from riskscribe.report import Report
from riskscribe.schema import SCHEMAS, report_outline, write_schemas

ROOT = Path(__file__).parents[1]
INFO, V1 = ROOT / "dataset_info", ROOT / "datasets" / "risk_report" / "v1"


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((INFO / name).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def rows(split: str) -> list[dict]:
    return [json.loads(line) for line in (V1 / f"{split}.jsonl").read_text(encoding="utf-8").split("\n") if line]


def test_the_schemas_are_the_generated_ones(tmp_path):
    write_schemas(tmp_path)
    for name in SCHEMAS:
        assert (tmp_path / name).read_bytes() == (INFO / name).read_bytes(), f"riskscribe schemas differ: {name}"
    assert {path.name for path in INFO.glob("*.schema.json")} == set(SCHEMAS)


@pytest.mark.parametrize(("field", "every"), [("report", 1), ("case", 10)])
@pytest.mark.parametrize("split", ["train_quick", "val", "test"])
def test_every_frozen_row_is_valid(split, field, every):
    check = validator(f"{field}.schema.json")
    for row in rows(split)[::every]:
        check.validate(json.loads(row[field]))


def test_the_manifest_of_v0_is_valid():
    validator("manifest.schema.json").validate(json.loads((V1 / "manifest.json").read_text()))


@pytest.mark.parametrize(
    ("field", "value"),
    [("risk_level", "severe"), ("escalate", "yes"), ("key_drivers", None), ("extra", 1), ("schema_version", "2")],
)
def test_the_schema_refuses_what_the_model_refuses(field, value):
    report = json.loads(rows("test")[0]["report"]) | {field: value}
    assert not validator("report.schema.json").is_valid(report)


def test_a_model_writes_findings_before_conclusions_before_prose():
    written = list(json.loads(rows("test")[0]["report"]))
    assert written == list(Report.model_fields) == list(Report.model_json_schema()["properties"])
    order = ["limit_breaches", "key_drivers", "level_basis", "risk_level", "recommended_actions", "summary"]
    assert [one for one in written if one in order] == order


def test_the_outline_names_every_field_and_closed_list():
    outline = report_outline()
    assert all(f'"{name}":' in outline for name in Report.model_fields)
    assert '"low"|"moderate"|"high"|"critical"' in outline
    assert "\n" not in outline and len(outline) < 1200


def test_the_registry_names_the_frozen_files():
    registry = json.loads((INFO / "dataset_info.json").read_text())
    for name, one in registry.items():
        assert (INFO / one["file_name"]).is_file(), name
        assert one["formatting"].startswith("risk_report")
