"""The loop of one run: a turn of the model, its tool calls, the next turn, until a result or a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from . import background, scopes
from . import events as ev
from .agents import Agent, Policy, begin_turn, end_turn, until_a_turn_ends
from .asking import TALK_TO_USER, Interview
from .errors import LimitExceeded, ModelReplyInvalid, ResultInvalid, TaskFailed
from .models.transcript import Message, Model, ModelRequest, Reply, ToolMessage, ToolSpec, UserMessage
from .prompts import system_message, task_message
from .results import ResultMismatch, ResultType
from .sending import send
from .streaming import DeltaBuffer
from .suiting import suited_agent
from .texts import clean_text, one_line, shorten
from .tools import ArgumentsInvalid, Tool, collect_tools, read_arguments
from .values import label

if TYPE_CHECKING:
    from .calling import Caller
    from .clocks import RunClock
    from .config import TaskConfig

MAX_REASON_CHARACTERS = 4_000
"""What is kept of the words with which a model gives a task up."""

MAX_CORRECTIONS = 2
"""How often in a row a model may hand in unusable calls, and how often a result that does not fit."""


@dataclass(frozen=True, kw_only=True)
class Brief:
    """Everything the engine needs to know about a task.

    Attributes:
        standing: Instructions from around the task, outermost first.
        agents: At least one; `model_of` gives the model each one uses.
    """

    name: str
    objective: str
    instructions: str
    standing: tuple[str, ...]
    context: Mapping[str, Any]
    result: ResultType
    agents: tuple[Agent, ...]
    policy: Policy
    model_of: Callable[[Agent], Model]
    tools: tuple[Tool, ...]
    user_access: bool
    default_answer: str | None
    config: TaskConfig

    def created(self, parent_run_id: str | None) -> ev.RunCreated:
        """Gives the first event of a run of this task."""
        models = [self.model_of(agent) for agent in self.agents]
        return ev.RunCreated(
            task=self.name,
            objective=self.objective,
            instructions=self.instructions,
            inputs={name: label(value) for name, value in self.context.items()},
            result_type=self.result.label,
            model=", ".join(dict.fromkeys(model.name for model in models)),
            is_rehearsal=any(model.is_rehearsal for model in models),
            agents=[agent.name for agent in self.agents],
            tools=[tool.name for tool in self.tools],
            limits=self.config.given(),
            parent_run_id=parent_run_id,
        )


class Attempt:
    """One attempt at a task; lives on the loop's thread. `is_watched` says whether to stream replies.

    Attributes:
        messages: The conversation without the system message, which belongs to the agent of each turn.
        is_completed: Whether there is a result.
        result: The result, once there is one.
        is_stopped: Set when the run is stopped; nothing is sent from then on.
    """

    def __init__(
        self,
        brief: Brief,
        *,
        clock: RunClock,
        interview: Interview,
        caller: Caller,
        add: Callable[[ev.Event], None],
        is_watched: Callable[[], bool],
    ) -> None:
        self.messages: list[Message] = [task_message(brief.objective, brief.instructions, brief.context)]
        self.is_completed = False
        self.result: Any = None
        self.is_stopped = False
        self._brief = brief
        self._clock = clock
        self._interview = interview
        self._caller = caller
        self._add = add
        self._is_watched = is_watched
        self._turn = 0
        self._agent: Agent | None = None
        self._tokens_used = 0
        self._bad_rounds = 0
        self._bad_results = 0
        self._call_ids: set[str] = set()

    async def take_turn(self) -> None:
        """Has the model reply once and does all it asked for.

        Raises:
            TaskFailed: If the run cannot go on: a limit, the model, the result, a person missing.
        """
        self._check_limits()
        agent = await self._next_agent()
        around = scopes.held_agents.get()
        if agent not in around:  # a task inside a tool must not wait for the turn it is part of
            begin_turn(agent)
        inside = scopes.held_agents.set(around | {agent})
        try:
            self._turn += 1
            model = self._brief.model_of(agent)
            self._add(ev.TurnStarted(turn=self._turn, agent=agent.name, model=model.name))
            reply, tools = await self._reply(agent, model)
            results = await self._answer(reply, tools)
            self.messages += [reply.message(), *results]
            self._add(ev.TurnEnded(turn=self._turn))
        finally:
            scopes.held_agents.reset(inside)
            if agent not in around:
                end_turn(agent)

    # Before a turn -----------------------------------------------------------------------------------

    def _check_limits(self) -> None:
        config = self._brief.config
        if self._turn >= config.max_turns:
            raise LimitExceeded(
                f"{self._brief.name}: no result after max_turns={config.max_turns} turns.", limit="max_turns"
            )
        if config.max_tokens is not None and self._tokens_used >= config.max_tokens:
            raise LimitExceeded(
                f"{self._brief.name}: no result within max_tokens={config.max_tokens:,} "
                f"({self._tokens_used:,} used).",
                limit="max_tokens",
            )

    async def _next_agent(self) -> Agent:
        """One agent that is free and suits, by the task's policy."""
        agents = self._brief.agents
        around = scopes.held_agents.get()
        while not (free := [agent for agent in agents if agent.is_free or agent in around]):
            await until_a_turn_ends()
        policy = self._brief.policy
        chosen, reason, usage = free[0], "the only free one", ev.Usage()
        if len(agents) == 1:
            self._agent = chosen
            return chosen
        if callable(policy):
            chosen, reason = policy(free), getattr(policy, "__name__", "the policy")
        elif policy == "round_robin":
            after = agents.index(self._agent) + 1 if self._agent else 0
            order = agents[after:] + agents[:after]
            chosen, reason = next(agent for agent in order if agent in free), "round robin"
        elif self._agent in free:
            return self._agent  # suited: the one that has begun goes on
        elif len(free) > 1:
            chosen, reason, usage = await self._most_suited(free)
        if chosen not in agents:
            raise TaskFailed(
                f"{self._brief.name}: the policy chose {chosen!r}, which is none of the task's agents."
            )
        if chosen is not self._agent:
            self._add(ev.AgentChosen(agent=chosen.name, reason=reason, usage=usage))
        self._agent = chosen
        return chosen

    async def _most_suited(self, free: Sequence[Agent]) -> tuple[Agent, str, ev.Usage]:
        model = self._brief.model_of(free[0])
        chosen, reply = await suited_agent(
            free, self.messages[0], lambda request: self._send(model, request, lambda _: None)
        )
        self._count_tokens(reply, ())
        if chosen is None:
            chosen, reason = free[0], "the model picked nobody; the first free one"
        else:
            reason = "picked by the model as the best suited"
        around = scopes.held_agents.get()
        while not (chosen.is_free or chosen in around):  # another run was quicker while the model thought
            still_free = next((agent for agent in free if agent.is_free), None)
            if still_free is not None:
                return still_free, f"{chosen.name} was picked and is busy now", reply.usage
            await until_a_turn_ends()
        return chosen, reason, reply.usage

    # The reply ---------------------------------------------------------------------------------------

    async def _reply(self, agent: Agent, model: Model) -> tuple[Reply, dict[str, Tool]]:
        brief = self._brief
        tools = collect_tools(brief.tools, agent.tools)
        user_access = brief.user_access or agent.user_access
        request = ModelRequest(
            messages=(
                system_message(agent, brief.result, brief.standing, user_access=user_access),
                *self.messages,
            ),
            tools=self._offered(tools, user_access=user_access),
            context=brief.context,
            stream=self._is_watched(),
        )
        begun = time.monotonic()
        buffer = DeltaBuffer(self._turn, self._add)
        try:
            reply = _with_own_ids(await self._send(model, request, buffer.take), self._turn, self._call_ids)
        finally:
            buffer.flush()
        self._count_tokens(reply, request.messages if not model.is_rehearsal else ())
        self._add(
            ev.ModelReplied(
                turn=self._turn,
                text=reply.text,
                tool_calls=list(reply.tool_calls),
                model=reply.model or model.name,
                finish_reason=reply.finish_reason,
                usage=reply.usage,
                duration_seconds=time.monotonic() - begun,
            )
        )
        _refuse_partial(reply, brief.name)
        return reply, {tool.name: tool for tool in tools}

    def _offered(self, tools: Sequence[Tool], *, user_access: bool) -> tuple[ToolSpec, ...]:
        own = (TALK_TO_USER,) if user_access else ()
        return (*(tool.spec for tool in tools), *own, *self._brief.result.finish_tools())

    async def _send(self, model: Model, request: ModelRequest, on_delta: Callable[[Any], None]) -> Reply:
        if self.is_stopped:  # a tool swallowed the cancellation
            raise asyncio.CancelledError
        return await send(
            model,
            request,
            turn=self._turn,
            config=self._brief.config,
            clock=self._clock,
            on_delta=on_delta,
            add=self._add,
        )

    def _count_tokens(self, reply: Reply, messages: Sequence[Message]) -> None:
        """Counts what the service says, or an estimate where it says nothing and a limit depends on it."""
        tokens = reply.usage.total_tokens
        if not tokens and messages and self._brief.config.max_tokens is not None:
            calls = sum(len(call.arguments) for call in reply.tool_calls)
            tokens = (sum(len(str(message)) for message in messages) + len(reply.text) + calls) // 3
            self._add(ev.NoticeGiven(text=f"The service reports no tokens; about {tokens:,} were counted."))
        self._tokens_used += tokens

    # What the reply asks for -------------------------------------------------------------------------

    async def _answer(self, reply: Reply, tools: Mapping[str, Tool]) -> list[Message]:
        """Does the calls of a reply, ordinary tools before those that finish; gives their results in order."""
        if not reply.tool_calls:
            return await self._take_text(reply.text)
        finishing = {spec.name for spec in self._brief.result.finish_tools()}
        asking = self._interview if self._may_ask else None
        ordinary = [call for call in reply.tool_calls if call.tool not in finishing]
        texts, all_fit = await self._caller.answer_all(ordinary, tools, asking, sorted(finishing), self._turn)
        for call in reply.tool_calls:
            if call.tool in finishing:
                texts[call.call_id], fits = await self._finish(call)
                all_fit = all_fit and fits
        self._bad_rounds = 0 if all_fit else self._bad_rounds + 1
        if self._bad_rounds > MAX_CORRECTIONS and not self.is_completed:
            raise ModelReplyInvalid(
                f"{self._brief.name}: the model made unusable calls {self._bad_rounds} times in a row; "
                f"it was told last: {one_line(texts[reply.tool_calls[-1].call_id], 200)}"
            )
        return [
            ToolMessage(call_id=call.call_id, tool=call.tool, text=texts[call.call_id])
            for call in reply.tool_calls
        ]

    @property
    def _may_ask(self) -> bool:
        return self._brief.user_access or bool(self._agent and self._agent.user_access)

    async def _finish(self, call: ev.CallRequest) -> tuple[str, bool]:
        """Takes a `mark_successful` or `mark_failed`; gives what the model is told, and whether the call fit."""
        if self.is_completed:
            return "The task is completed already; this call changed nothing.", True
        try:
            arguments = read_arguments(call.arguments)
        except ArgumentsInvalid as exc:
            return f"Error: {exc}. Call {call.tool} again.", False
        if call.tool == "mark_failed":
            reason = shorten(str(arguments.get("reason") or "no reason given"), MAX_REASON_CHARACTERS)
            raise TaskFailed(f"{self._brief.name} failed: {reason}")
        try:
            value = await self._checked(lambda: self._brief.result.check_arguments(arguments))
        except ResultMismatch as exc:
            return self._reject(str(exc), call.arguments), True
        self._complete(value)
        return "Completed.", True

    async def _take_text(self, text: str) -> list[Message]:
        """Takes a reply without calls as the result, or tells the model what is missing."""
        try:
            if not text.strip():
                raise ResultMismatch("the reply was empty")
            value = await self._checked(lambda: self._brief.result.check_text(text))
        except ResultMismatch as exc:
            return [UserMessage(text=self._reject(str(exc), text))]
        self._complete(value)
        return []

    async def _checked(self, check: Callable[[], Any]) -> Any:
        """Checks a result; a validator is the person's code, may take long and may run tasks of its own."""
        if self._brief.result.validator is None:
            return check()
        return await background.call_in_thread(check, "result_validator")

    def _complete(self, value: Any) -> None:
        self.is_completed, self.result = True, value

    def _reject(self, reason: str, raw: str) -> str:
        reason = clean_text(reason)
        self._add(ev.ResultRejected(turn=self._turn, reason=reason, raw=raw))
        self._bad_results += 1
        if self._bad_results > MAX_CORRECTIONS:
            raise ResultInvalid(
                f"{self._brief.name}: no {self._brief.result.label} after {self._bad_results} tries; "
                f"the last one: {reason}",
                raw=raw,
            )
        return f"That is not accepted as the result: {reason}. Correct it and call mark_successful again."


def _with_own_ids(reply: Reply, turn: int, seen: set[str]) -> Reply:
    """Gives the reply clean, with an id for every call: some servers leave them out or repeat them.

    `seen` holds the ids of the run so far and takes the new ones.
    """
    calls = []
    for index, call in enumerate(reply.tool_calls):
        call_id = clean_text(call.call_id)
        if not call_id or call_id in seen:
            call_id = f"turn{turn}_call{index + 1}"
            while call_id in seen:
                call_id += "_"
        seen.add(call_id)
        clean = (call_id, clean_text(call.tool), clean_text(call.arguments))
        calls.append(
            call
            if clean == (call.call_id, call.tool, call.arguments)
            else ev.CallRequest(call_id=clean[0], tool=clean[1], arguments=clean[2])
        )
    return replace(reply, text=clean_text(reply.text), tool_calls=tuple(calls))


def _refuse_partial(reply: Reply, name: str) -> None:
    """A reply that was cut short or filtered is never taken as a whole one."""
    if reply.finish_reason == "length":
        raise ModelReplyInvalid(
            f"{name}: the reply was cut at the model's output limit. Ask for less, or raise max_output_tokens."
        )
    if reply.refusal:
        raise ModelReplyInvalid(f"{name}: the model refused: {one_line(reply.refusal, 300)}")
    if reply.finish_reason == "content_filter":
        raise ModelReplyInvalid(f"{name}: the service's content filter stopped the reply.")


async def drive(attempt: Attempt, *, once: bool) -> None:
    """Takes turns until there is a result, or one turn if `once`."""
    while not attempt.is_completed:
        await attempt.take_turn()
        if once:
            return
        await asyncio.sleep(
            0
        )  # a model that answers at once must not keep others, or a cancel, from the loop
