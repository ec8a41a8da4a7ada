"""Scoring and checking of reports: parse, fields, grounding, verify, score, compare, and the optional judge.

Use it alone, on anybody's reports: `from riskscribe.evaluate.api import score, compare, verify, ground`; docs/evaluator.md.
Imports the domain (case, report, policy, prompt) only: no torch, no llamafactory, nothing of data or release.
"""
