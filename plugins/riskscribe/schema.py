"""JSON Schemas generated from the contract's models; dataset_info/ holds copies and a test keeps them equal."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from riskscribe.case import Case
from riskscribe.files import write_json
from riskscribe.manifest import Manifest
from riskscribe.policy import Policy
from riskscribe.report import Report

SCHEMA_FILE = Path("dataset_info/report.schema.json")  # from the repository root, as recipes name it
SCHEMAS: dict[str, type[BaseModel]] = {
    "case.schema.json": Case,
    "report.schema.json": Report,
    "policy.schema.json": Policy,
    "manifest.schema.json": Manifest,
}


def write_schemas(folder: Path) -> None:
    """Write every schema into `folder`."""
    for name, model in SCHEMAS.items():
        write_json(Path(folder) / name, model.model_json_schema())


def _outline(node: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in node:
        node = definitions[node["$ref"].rsplit("/", 1)[-1]]
    if "const" in node:
        return json.dumps(node["const"])
    if "enum" in node:
        return "|".join(json.dumps(one) for one in node["enum"])
    if node["type"] == "object":
        return "{" + ",".join(f'"{key}":{_outline(one, definitions)}' for key, one in node["properties"].items()) + "}"
    if node["type"] == "array":
        return f"[{_outline(node['items'], definitions)}]"
    return node["type"]


@cache
def report_outline() -> str:
    """The report's schema as fields, types and closed lists: 200 tokens where the JSON Schema has 970."""
    schema = Report.model_json_schema()
    return _outline(schema, schema["$defs"])
