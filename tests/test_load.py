"""The load test on the tiny model: real server, real HTTP."""

import json

import pytest

from riskscribe import load


def test_an_answer_is_complete_and_in_order():
    good = {"limit_id": "LIM-K7", "status": "breach", "utilisation_pct": 104, "escalate": True}
    assert load._follows(json.dumps(good))
    wrong = ({"status": "fine"}, {"utilisation_pct": 1.5}, {"utilisation_pct": True}, {"escalate": 0})
    assert not any(load._follows(json.dumps(good | one)) for one in wrong)
    assert not load._follows(json.dumps(dict(reversed(good.items())))) and not load._follows(json.dumps(good)[:-1])


@pytest.mark.slow
def test_clients_get_their_answers_and_some_are_turned_away(tiny_model, in_root, tmp_path, monkeypatch):
    # an untrained model spells letter by letter
    monkeypatch.setattr(load, "MAX_TOKENS", 120)
    found = load.measure(tiny_model, clients=4, answers=16, each=3, seconds=300, log=tmp_path / "server.log")
    assert found["errors"] == [] and found["answers"] >= 16 and found["fewest_a_client"] >= 3
    assert found["valid_by_the_server"] == found["answers"] and found["refused_429"] > 0
    assert 0 < found["latency_median_s"] <= found["latency_p95_s"] and found["memory_late_mib"] > 0
