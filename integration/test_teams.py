"""Teams through a real Envoy: who is let in, and limits that hold however many workers and clients there are."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest

from .cloud.driver import StandIn
from .conftest import running
from .harness import BEDROCK, CLIENT_KEY, VERTEX, say, until

WORKERS, CLIENTS = 4, 64


def team(models: list[str], key: str = CLIENT_KEY, **limits: Any) -> dict[str, Any]:
    """A team of the plugin's configuration with one key."""
    return {"keys": [{"sha256": hashlib.sha256(key.encode()).hexdigest()}], "models": models, "limits": limits}


def teams(**all_teams: dict[str, Any]) -> Any:
    return lambda plugin: plugin.update(teams=all_teams)


def test_the_sdks_raise_what_their_own_apis_make_them_raise(version: str, cloud: StandIn) -> None:
    plugin = teams(blue=team(["vertex_ai/*"]), red=team(["*"], key="red-key", requests_per_minute=1))
    with running(version, cloud, "teams", plugin=plugin) as gate:
        gate.fresh()
        assert gate.completions.create(model=VERTEX, messages=say()).choices[0].message.content
        with pytest.raises(openai.PermissionDeniedError) as denied:
            gate.completions.create(model=BEDROCK, messages=say())
        assert (denied.value.code, denied.value.param) == ("model_not_allowed", "model")

        url = f"http://127.0.0.1:{gate.envoy.port}"
        unknown = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong-key", max_retries=0)
        with pytest.raises(openai.AuthenticationError) as unauthenticated:
            unknown.chat.completions.create(model=VERTEX, messages=say())
        assert unauthenticated.value.code == "invalid_api_key"

        red = anthropic.Anthropic(base_url=url, api_key="red-key", max_retries=0)
        ask = lambda: red.messages.create(model=BEDROCK, max_tokens=10, messages=say())  # noqa: E731
        assert ask().content
        with pytest.raises(anthropic.RateLimitError) as limited:
            ask()
        assert "requests_per_minute of team red is reached" in limited.value.message
        assert 50 < int(limited.value.response.headers["retry-after"]) <= 61
        with pytest.raises(anthropic.AuthenticationError):
            anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0).messages.create(
                model=BEDROCK, max_tokens=10, messages=say()
            )
        gate.verify()


def test_sixty_four_clients_on_four_workers_get_exactly_what_a_limit_allows(version: str, cloud: StandIn) -> None:
    most, asked = 150, 300
    plugin = teams(blue=team(["*"], requests_per_minute=most))
    with running(version, cloud, "limit", plugin=plugin, concurrency=WORKERS) as gate:
        gate.fresh()
        body = {"model": BEDROCK, "messages": say()}
        headers = {"authorization": f"Bearer {CLIENT_KEY}"}
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(lambda _: gate.post(body, headers=headers), range(asked)))
        assert Counter(answer.status for answer in answers) == {200: most, 429: asked - most}
        assert all("retry-after" in answer.headers for answer in answers if answer.status == 429)
        assert len(gate.requests("bedrock")) <= most
        gate.verify()


def test_the_tokens_charged_are_the_tokens_that_the_clouds_counted(version: str, cloud: StandIn) -> None:
    most = 100_000_000
    plugin = teams(blue=team(["*"], tokens_per_minute=most))
    with running(version, cloud, "tokens", plugin=plugin, concurrency=WORKERS) as gate:
        gate.fresh()

        def ask(number: int) -> int:
            script = f"text in={number % 7 + 1} out={number % 11 + 1}"
            model = (BEDROCK, VERTEX)[number % 2]
            if number % 3:
                whole = gate.completions.create(model=model, messages=say(script), max_tokens=1000)
                assert whole.usage
                return whole.usage.total_tokens
            chunks = gate.completions.create(
                model=model, messages=say(script), stream=True, stream_options={"include_usage": True}
            )
            return sum(chunk.usage.total_tokens for chunk in chunks if chunk.usage)

        with ThreadPoolExecutor(16) as pool:
            used = sum(pool.map(ask, range(300)))
        last = gate.completions.with_raw_response.create(model=BEDROCK, messages=say(), max_tokens=1000)
        left = int(last.headers["x-ratelimit-remaining-tokens"])
        # The last request itself is still reserved when it is told: its bound, and its own text.
        assert 1000 < most - used - left < 1100
        gate.verify()


def test_an_operator_sees_requests_tokens_cost_and_times_with_real_labels(version: str, cloud: StandIn) -> None:
    plugin = teams(blue=team(["*"], requests_per_minute=2))
    with running(version, cloud, "metrics", plugin=plugin) as gate:
        gate.fresh()
        gate.completions.create(model=BEDROCK, messages=say("text in=1000 out=100"))
        for _ in gate.completions.create(model=BEDROCK, messages=say("text in=7 out=5"), stream=True):
            pass
        with pytest.raises(openai.RateLimitError):
            gate.completions.create(model=BEDROCK, messages=say())
        model = 'model="bedrock/*"'
        lines = {
            f'fairlead_requests_total{{{model},status="200",team="blue"}} 2',
            f'fairlead_requests_total{{{model},status="429",team="blue"}} 1',
            f'gen_ai_client_token_usage_total{{{model},team="blue",token_type="input"}} 1007',
            f'gen_ai_client_token_usage_total{{{model},team="blue",token_type="output"}} 105',
            # Three dollars for a million in, fifteen out.
            f'fairlead_cost_nanodollars_total{{{model},team="blue"}} {1007 * 3000 + 105 * 15000}',
            'fairlead_refused_total{reason="limit",team="blue"} 1',
            f'gen_ai_server_request_duration_milliseconds_count{{{model},team="blue"}} 3',
            f'gen_ai_server_time_to_first_token_milliseconds_count{{{model},team="blue"}} 2',
        }
        # Envoy gathers histograms every five seconds.
        metrics = lambda: gate.admin("GET", "/stats/prometheus?filter=wasmcustom").splitlines()  # noqa: E731
        until(f"{lines} in the metrics", lambda: lines <= set(metrics()))

        usage = gate.call("GET", "/fairlead/usage", headers={"authorization": f"Bearer {CLIENT_KEY}"})
        (blue,) = json.loads(usage.body)["teams"]
        assert (blue["name"], blue["limits"]["requests_per_minute"]["used"]) == ("blue", 2)

        written = lambda: [json.loads(line) for line in gate.log().splitlines() if line.startswith("{")]  # noqa: E731
        log = until("both requests in the access log", lambda: len(written()) > 1 and written())[:2]
        told = [(line["team"], line["input_tokens"], line["output_tokens"], line["cost_usd"]) for line in log]
        assert told == [("blue", "1000", "100", "0.004500000"), ("blue", "7", "5", "0.000096000")]
        assert all(int(line["first_token_ms"]) >= 0 for line in log)
        gate.verify()


