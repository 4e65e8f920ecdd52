"""A pool's server that is overloaded or out of reach for a while is asked again; one that refuses is not."""

from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest

from flows import fanout


class Shard:
    title = "narrow · robin"

    def model_dump(self, *, mode):
        return {"classes": ["robin"]}


def refused(status):
    answer = httpx.Response(status, request=httpx.Request("POST", "http://server/api/task_runs/"))
    return httpx.HTTPStatusError(f"Server error {status}", request=answer.request, response=answer)


@pytest.fixture
def pool(monkeypatch):
    pytest.importorskip("prefect")
    monkeypatch.setattr(fanout, "POLL_SECONDS", 0.0)
    return fanout.Pool(SimpleNamespace(name="shard"), "xv", Client())


class Client:
    answers = ()

    def read_deployment_by_name(self, name):
        assert name == "shard/xv"

    def read_flow_runs(self, flow_run_filter):
        return answered(self.answers)


def answered(answers):
    answer = answers.pop(0)
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.mark.parametrize("error", [refused(503), httpx.ConnectError("refused"), httpx.ReadTimeout("")])
def test_a_shard_is_handed_out_once_the_server_answers_again(pool, monkeypatch, caplog, error):
    created, keys = uuid4(), []

    def run_deployment(name, *, idempotency_key, **_named):
        keys.append(idempotency_key)
        return answered(answers)

    answers = [error, error, SimpleNamespace(id=created)]
    monkeypatch.setattr("prefect.deployments.run_deployment", run_deployment)
    assert pool.start(Shard(), 1, join=False) == created
    assert len(keys) == 3
    assert len(set(keys)) == 1  # whatever the server did before it failed is not done twice
    assert caplog.text.count("asked again") == 2


@pytest.mark.parametrize(("error", "patience"), [(refused(404), 600.0), (refused(503), -1.0)])
def test_what_is_refused_or_lasts_too_long_is_raised(pool, monkeypatch, error, patience):
    monkeypatch.setattr(fanout, "PATIENCE_SECONDS", patience)
    monkeypatch.setattr("prefect.deployments.run_deployment", lambda *_, **__: answered([error]))
    with pytest.raises(httpx.HTTPStatusError):
        pool.start(Shard(), 1, join=False)


def test_shards_at_work_are_looked_for_again(pool, monkeypatch):
    run = SimpleNamespace(id=uuid4(), state=SimpleNamespace(is_final=lambda: True, is_scheduled=lambda: False))
    monkeypatch.setattr(Client, "answers", [refused(503), [run]])
    assert list(pool.ended([run.id])) == []
    assert list(pool.ended([run.id])) == [(run.id, run.state)]
