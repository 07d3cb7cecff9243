"""What replies cost: known prices only, nothing looked up, and limits of cost that are kept or refused."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from aesop_nb import Agent, LimitExceeded, OpenAIModel, Task, TaskConfig, Usage, UsageError, prices
from aesop_nb.models.transcript import Reply
from aesop_nb.testing import ScriptedModel, call

USED = Usage(requests=1, input_tokens=1000, output_tokens=100)


class Shop(ScriptedModel):
    """A scripted model that says it is behind a service."""

    def __init__(
        self, *replies: Any, name: str = "gpt-5-mini", url: str = "https://api.openai.com/v1"
    ) -> None:
        super().__init__(*replies, name=name)
        self.base_url = url


def cost_of(model: ScriptedModel, usage: Usage = USED, name: str = "") -> float | None:
    return prices.priced(Reply(text="x", usage=usage, model=name), model).cost_usd


def test_a_known_model_has_a_cost_and_cached_tokens_are_cheaper() -> None:
    full = cost_of(Shop())
    assert full is not None
    assert 0 < full < 0.01
    cached = cost_of(Shop(), USED.model_copy(update={"cached_tokens": 900}))
    assert cached is not None
    assert 0 < cached < full
    assert cost_of(Shop(), name="gpt-5-mini-2025-08-07") == full


@pytest.mark.parametrize(
    "model",
    [
        ScriptedModel(),
        Shop(url="http://localhost:11434/v1"),
        Shop(url="http://127.0.0.1:8000/v1"),
        Shop(url="https://models.example.org/v1"),
        Shop(url="nonsense"),
        Shop(url="http://[broken"),
        Shop(name="gpt-unheard-of"),
    ],
)
def test_what_has_no_known_price_costs_an_unknown_amount(model: ScriptedModel) -> None:
    assert cost_of(model) is None


def test_a_reply_without_tokens_has_no_known_cost_and_a_given_one_stays() -> None:
    assert cost_of(Shop(), Usage(requests=1)) is None
    assert cost_of(Shop(), Usage(requests=1, cost_usd=0.5)) == 0.5


def test_no_price_is_looked_up_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert cost_of(Shop(), USED) is not None


def test_a_sum_with_an_unknown_part_is_unknown_and_failed_requests_cost_nothing() -> None:
    known = USED.model_copy(update={"cost_usd": 0.5})
    assert (known + known).cost_usd == 1.0
    assert (known + USED).cost_usd is None
    assert (known + USED + known).cost_usd is None
    assert (known + Usage(requests=1)).cost_usd == 0.5
    assert (Usage(requests=1) + Usage(requests=1)).cost_usd is None


def test_a_run_knows_what_it_cost() -> None:
    run = Task("Say", model=Shop(Reply(text="x", usage=USED))).start()
    run.wait()
    assert run.usage.cost_usd == cost_of(Shop())


def test_a_limit_of_cost_ends_the_run_that_reaches_it() -> None:
    dear = USED.model_copy(update={"cost_usd": 0.6})

    def look() -> str:
        return "seen"

    calls = [Reply(tool_calls=Shop()._made(call("look")).tool_calls, usage=dear) for _ in range(3)]
    limits = TaskConfig(max_cost_usd=1)
    run = Task("Look", tools=[look], model=Shop(*calls), config=limits).start()
    with pytest.raises(LimitExceeded, match=r"max_cost_usd=1 \(USD 1.2000 spent\)") as failed:
        run.wait()
    assert failed.value.limit == "max_cost_usd"
    assert run.usage.requests == 2


def test_a_limit_that_cannot_be_kept_is_refused_and_names_the_model() -> None:
    agents = [Agent(name="a", model=Shop()), Agent(name="b", model=ScriptedModel(name="unpriced"))]
    with pytest.raises(
        UsageError, match=r"max_cost_usd=1 cannot be kept: no price is known for unpriced\. Use"
    ):
        Task("Say", agents=agents, config=TaskConfig(max_cost_usd=1)).start()


def test_without_the_list_of_prices_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_library", lambda: None)
    prices._is_known.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'aesop_nb\[cost\]'"):
        Task("Say", model=Shop(), config=TaskConfig(max_cost_usd=1)).start()
    assert cost_of(Shop()) is None
    prices._is_known.cache_clear()


def test_a_service_that_stops_counting_tokens_ends_a_run_with_a_limit_of_cost() -> None:
    with pytest.raises(LimitExceeded, match="cannot be kept any longer"):
        Task("Say", model=Shop("x"), config=TaskConfig(max_cost_usd=1)).run()


def test_a_model_of_openai_is_priced_by_its_service() -> None:
    model = OpenAIModel("gpt-5-mini", base_url="https://api.openai.com/v1", api_key="sk-test")
    assert cost_of(model) == cost_of(Shop())  # type: ignore[arg-type]
