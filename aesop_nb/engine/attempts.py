"""The loop of one run: a turn of the model, its tool calls, the next turn, until a result or a limit."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import background, scopes
from .. import events as ev
from ..agents import Agent, Policy, begin_turn, end_turn
from ..errors import LimitExceeded, ModelReplyInvalid, ResultInvalid, TaskFailed
from ..models.transcript import Message, Model, ModelRequest, Reply, ToolMessage, UserMessage
from ..prices import priced
from ..results.result_types import ResultMismatch, ResultType
from ..texts import clean_text, one_line, shorten
from ..tools import ArgumentsInvalid, Tool, collect_tools, read_arguments
from ..values import label
from .answers import TALK_TO_USER
from .conversations import GIVES_UP, Conversation, rejection, unreadable
from .prompts import system_message, task_message
from .sending import send
from .streaming import DeltaBuffer
from .suiting import choose_agent, until_free
from .withheld import masked_messages

if TYPE_CHECKING:
    from ..config import TaskConfig
    from ..remembering.memories import MemoryScope
    from .approving import Approvals
    from .calling import Caller
    from .clocks import RunClock
    from .conversations import OpenTurn
    from .recorders import Recorder

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
        reuse: Whether the result of a completed run with the same key may be given instead.
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
    approvals: Approvals
    config: TaskConfig
    memory_scope: MemoryScope | None = None
    reuse: bool = False

    @property
    def may_ask(self) -> bool:
        """Whether the person may be asked something, or to approve a call."""
        tools = collect_tools(self.tools, *(agent.tools for agent in self.agents))
        asking = self.user_access or any(agent.user_access for agent in self.agents)
        return asking or any(tool.requires_approval for tool in tools)

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

    def first_messages(self) -> list[Message]:
        """Gives the conversation before the first turn, without the system message."""
        return [self.first_message()]

    def first_message(self) -> UserMessage:
        """Gives the task with its inputs as the model reads it."""
        return task_message(self.objective, self.instructions, self.context)

    def request(
        self, agent: Agent, messages: Sequence[Message], *, stream: bool = False
    ) -> tuple[ModelRequest, tuple[Tool, ...]]:
        """Gives what is sent for a turn of `agent`, and the tools of the task and of the agent that it offers."""
        tools = collect_tools(self.tools, agent.tools)
        user_access = self.user_access or agent.user_access
        own = (TALK_TO_USER,) if user_access else ()
        request = ModelRequest(
            messages=(
                system_message(
                    agent,
                    self.result,
                    self.standing,
                    user_access=user_access,
                    memory_scope=self.memory_scope,
                ),
                *messages,
            ),
            tools=(*(tool.spec for tool in tools), *own, *self.result.finish_tools()),
            context=self.context,
            stream=stream,
        )
        return request, tools


class Attempt:
    """One attempt at a task; lives on the loop's thread.

    It goes on with `conversation`, which holds the task at least; its limits are counted anew.

    Attributes:
        messages: The conversation without the system message, which belongs to the agent of each turn.
        is_completed: Whether there is a result.
        result: The result, once there is one.
        is_stopped: Set when the run is stopped; nothing is sent from then on.
    """

    def __init__(
        self,
        brief: Brief,
        conversation: Conversation,
        *,
        clock: RunClock,
        caller: Caller,
        recorder: Recorder,
    ) -> None:
        self.messages: list[Message] = list(conversation.messages)
        self.is_completed = False
        self.result: Any = None
        self.is_stopped = False
        self._brief = brief
        self._clock = clock
        self._caller = caller
        self._add = recorder.add
        self._is_watched = recorder.is_watched
        self._withheld = recorder.withheld
        self._left = conversation.left
        self._turn = self._turns_before = conversation.turn
        self._agent = next((agent for agent in brief.agents if agent.name == conversation.agent), None)
        self._tokens_used = 0
        self._spent_usd = 0.0
        self._bad_rounds = 0
        self._bad_results = 0
        self._call_ids = set(conversation.call_ids)
        self._withheld.number_after((str(conversation.messages), str(conversation.left)))

    async def take_turn(self) -> None:
        """Has the model reply once and does all it asked for.

        Raises:
            TaskFailed: If the run cannot go on: a limit, the model, the result, a person missing.
        """
        if self._left is not None:
            await self._finish_turn(self._left)
            return
        self._check_limits()
        agent = await self._next_agent()
        with _turn_of(agent):
            self._turn += 1
            model = self._brief.model_of(agent)
            self._add(ev.TurnStarted(turn=self._turn, agent=agent.name, model=model.name))
            reply, tools = await self._reply(agent, model)
            results = await self._answer(reply, tools)
            self.messages += [reply.message(), *results]
            self._add(ev.TurnEnded(turn=self._turn))

    async def _finish_turn(self, left: OpenTurn) -> None:
        """Does what the run before this one left undone of a turn; the model is not asked for that."""
        agent = await self._agent_again()
        with _turn_of(agent):
            self._add(
                ev.TurnStarted(turn=self._turn, agent=agent.name, model=self._brief.model_of(agent).name)
            )
            tools = {tool.name: tool for tool in collect_tools(self._brief.tools, agent.tools)}
            self.messages += await self._answer_left(left, tools)
            self._left = None
            self._add(ev.TurnEnded(turn=self._turn))

    async def _answer_left(self, left: OpenTurn, tools: Mapping[str, Tool]) -> list[Message]:
        """Makes the calls that were never begun; gives the turn with a result for every call."""
        if not left.reply.tool_calls and not left.rejections:
            return [left.reply, *await self._take_text(left.reply.text)]
        finishing = sorted(spec.name for spec in self._brief.result.finish_tools())
        texts, _ = await self._caller.answer_all(
            left.due(tools), tools, finishing, self._turn, may_ask=self._may_ask
        )
        for call in left.handed_in:
            texts[call.call_id], _ = await self._finish(call)
        return left.messages(texts)

    # Before a turn -----------------------------------------------------------------------------------

    def _check_limits(self) -> None:
        config = self._brief.config
        if self._turn - self._turns_before >= config.max_turns:
            raise LimitExceeded(
                f"{self._brief.name}: no result after max_turns={config.max_turns} turns.", limit="max_turns"
            )
        if config.max_tokens is not None and self._tokens_used >= config.max_tokens:
            raise LimitExceeded(
                f"{self._brief.name}: no result within max_tokens={config.max_tokens:,} "
                f"({self._tokens_used:,} used).",
                limit="max_tokens",
            )
        if config.max_cost_usd is not None and self._spent_usd >= config.max_cost_usd:
            raise LimitExceeded(
                f"{self._brief.name}: no result within max_cost_usd={config.max_cost_usd:g} "
                f"(USD {self._spent_usd:.4f} spent).",
                limit="max_cost_usd",
            )

    async def _agent_again(self) -> Agent:
        """The agent whose turn was left in the middle, once it is free."""
        agent = self._agent = self._agent or self._brief.agents[0]
        await until_free([agent])
        return agent

    async def _next_agent(self) -> Agent:
        """One agent that is free and suits, by the task's policy."""
        agents = self._brief.agents
        chosen, reason, usage = await choose_agent(
            agents, self._brief.policy, latest=self._agent, task=self.messages[0], ask=self._ask_who
        )
        if chosen not in agents:
            raise TaskFailed(
                f"{self._brief.name}: the policy chose {chosen!r}, which is none of the task's agents."
            )
        if len(agents) > 1 and chosen is not self._agent:
            self._add(ev.AgentChosen(agent=chosen.name, reason=reason, usage=usage))
        self._agent = chosen
        return chosen

    async def _ask_who(self, agent: Agent, request: ModelRequest) -> Reply:
        reply = await self._send(self._brief.model_of(agent), request, lambda _: None)
        self._count_tokens(reply, ())
        return reply

    # The reply ---------------------------------------------------------------------------------------

    async def _reply(self, agent: Agent, model: Model) -> tuple[Reply, dict[str, Tool]]:
        messages = masked_messages(self.messages, self._withheld)
        request, tools = self._brief.request(agent, messages, stream=self._is_watched())
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
                wire=reply.wire,
                opaque=list(reply.opaque),
                finish_reason=reply.finish_reason,
                usage=reply.usage,
                duration_seconds=time.monotonic() - begun,
            )
        )
        _refuse_partial(reply, self._brief.name)
        return reply, {tool.name: tool for tool in tools}

    async def _send(self, model: Model, request: ModelRequest, on_delta: Callable[[Any], None]) -> Reply:
        if self.is_stopped:  # a tool swallowed the cancellation
            raise asyncio.CancelledError
        reply = await send(
            model,
            request,
            turn=self._turn,
            config=self._brief.config,
            clock=self._clock,
            on_delta=on_delta,
            add=self._add,
        )
        return replace(reply, usage=priced(reply, model))

    def _count_tokens(self, reply: Reply, messages: Sequence[Message]) -> None:
        """Counts what the service says, or an estimate where it says nothing and a limit depends on it."""
        tokens = reply.usage.total_tokens
        if not tokens and messages and self._brief.config.max_tokens is not None:
            calls = sum(len(call.arguments) for call in reply.tool_calls)
            tokens = (sum(len(str(message)) for message in messages) + len(reply.text) + calls) // 3
            self._add(ev.NoticeGiven(text=f"The service reports no tokens; about {tokens:,} were counted."))
        self._tokens_used += tokens
        self._count_cost(reply)

    def _count_cost(self, reply: Reply) -> None:
        """Adds up what is spent; a reply without a price cannot be held to a limit of cost."""
        cost, limit = reply.usage.cost_usd, self._brief.config.max_cost_usd
        if cost is None and limit is not None:
            raise LimitExceeded(
                f"{self._brief.name}: max_cost_usd={limit:g} cannot be kept any longer: the service reports no "
                f"tokens for a reply of {reply.model or 'the model'}, or its price is not known.",
                limit="max_cost_usd",
            )
        self._spent_usd += cost or 0.0

    # What the reply asks for -------------------------------------------------------------------------

    async def _answer(self, reply: Reply, tools: Mapping[str, Tool]) -> list[Message]:
        """Does the calls of a reply, ordinary tools before those that finish; gives their results in order."""
        if not reply.tool_calls:
            return await self._take_text(reply.text)
        finishing = {spec.name for spec in self._brief.result.finish_tools()}
        ordinary = [call for call in reply.tool_calls if call.tool not in finishing]
        texts, all_fit = await self._caller.answer_all(
            ordinary, tools, sorted(finishing), self._turn, may_ask=self._may_ask
        )
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
            return unreadable(call.tool, exc), False
        if call.tool == GIVES_UP:
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
        return rejection(reason)


@contextlib.contextmanager
def _turn_of(agent: Agent) -> Iterator[None]:
    """Keeps the agent busy; a task inside a tool does not wait for the turn it is part of."""
    around = scopes.held_agents.get()
    if agent not in around:
        begin_turn(agent)
    inside = scopes.held_agents.set(around | {agent})
    try:
        yield
    finally:
        scopes.held_agents.reset(inside)
        if agent not in around:
            end_turn(agent)


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
