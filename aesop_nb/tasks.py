"""`Task`: a reusable description of what to do, with what, and how far."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

from typing_extensions import TypeVar

from . import background, prices, resuming, scopes, upstream
from .agents import DEFAULT_AGENT, Agent, Policy, check_agents
from .config import TaskConfig, settings
from .engine.approving import Approvals, Approve
from .engine.asking import AnswersGiven, GivenAnswers, find_audience
from .engine.attempts import Brief
from .errors import RunInterrupted, UsageError
from .models.choosing import choose_model
from .project_settings import use_project_settings
from .remembering.memories import SCOPES, MemoryScope
from .remembering.memory_tools import memory_tools, refuse_missing_memory, refuse_taken_names
from .results.result_types import ResultType
from .reusing import KeyParts, key_parts
from .runlogs import Status
from .running import Run
from .texts import clean_text, humanize, short_name
from .tools import Tool, collect_tools
from .web.offering import web_tools

if TYPE_CHECKING:
    from contextvars import Token

    from .background import Latch
    from .engine.conversations import Conversation
    from .errors import TaskFailed
    from .models.transcript import Model
    from .recordings import Recording

T = TypeVar("T", default=Any)


class Task(Generic[T]):
    """What to do; running it changes nothing in it and gives a new `Run` each time.

        Task("Find five bakery chains", result_type=list[Company], tools=[search]).run()

    Args:
        objective: What is to be reached; `description` is another word for it. Without one it is made from
            the name.
        name: A short name; made from the objective if left out.
        instructions: How to go about it.
        context: What the agent is given, by name; `inputs` is another word for it. A task in it runs first
            and its result takes its place.
        result_type: What comes back; `None` for nothing. See `ResultType`.
        result_validator: Called with the typed result; what it returns is the result, what it raises is told
            to the model.
        agents: Who may do it; left out, the parent's, the flow's or the default agent.
        agent_policy: Who of several agents takes the next turn.
        tools: Functions the agent may use.
        user_access: Whether it may ask the person; `interactive` is another word for it.
        default_answer: What is answered where nobody can be asked; without one such a run fails with
            `NeedsHuman`.
        approve: Which calls of tools with `requires_approval` are decided beforehand: the names of tools, or a
            function of a tool's name and arguments that gives `True`, `False`, or `None` to ask the person.
            Where nobody is there, all others are denied.
        model: Which model, whatever the agents say.
        config: The limits.
        memory_scope: Where the agent remembers: `"task"`, `"session"` or `"permanent"`.
        reuse: Whether a completed run with the same key, in this kernel or an earlier one, gives its result
            without asking a model; see `why_not_reused`. `None` leaves it to `settings.reuse`, which holds
            neither for tasks with memory nor for those with tools that have side effects.
        depends_on: Tasks that must be completed before.
        parent: The task it is a part of; left out, the innermost `with task:`.

    Raises:
        UsageError: If something does not fit; the message names it.
    """

    def __init__(
        self,
        objective: str | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        instructions: str = "",
        context: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        result_type: Any = str,
        result_validator: Callable[[Any], Any] | None = None,
        agents: Iterable[Agent] | Agent | None = None,
        agent_policy: Policy = "suited",
        tools: Sequence[Callable[..., Any] | Tool] = (),
        user_access: bool | None = None,
        interactive: bool | None = None,
        default_answer: str | None = None,
        approve: Approve | None = None,
        model: Model | str | None = None,
        config: TaskConfig | None = None,
        memory_scope: MemoryScope | None = None,
        reuse: bool | None = None,
        depends_on: Iterable[Task[Any]] = (),
        parent: Task[Any] | None = None,
    ) -> None:
        said = _one_of("objective", objective, "description", description)
        if name is not None and not name.strip():
            raise UsageError(f"name={name!r} of a task is empty.")
        if said is not None and not said.strip():
            raise UsageError(f"objective={said!r} of a task is empty. Say what is to be reached.")
        if said is None and name is None:
            raise UsageError("A task needs an objective, for example Task('Summarise the report').")
        self.objective = clean_text(said if said is not None else humanize(name or ""))
        self.name = clean_text(name if name is not None else short_name(self.objective))
        self.instructions = clean_text(instructions)
        self.context: Mapping[str, Any] = {
            clean_text(name) if isinstance(name, str) else name: value
            for name, value in dict(_one_of("context", context, "inputs", inputs) or {}).items()
        }
        self._result_type = (
            result_type
            if isinstance(result_type, ResultType)
            else ResultType.of(result_type, result_validator)
        )
        self.tools = collect_tools(tools)
        self.user_access = bool(_one_of("user_access", user_access, "interactive", interactive))
        self.default_answer = default_answer
        self.approve = approve
        self._approvals = Approvals(approve)
        self.model = model
        self.config = config if config is not None else TaskConfig()
        self.memory_scope = memory_scope
        self.reuse = reuse
        self.parent = parent if parent is not None else scopes.parent_task.get()
        self.depends_on = tuple(depends_on)
        self.runs: list[Run[T]] = []
        self._agents = check_agents(agents)
        self._policy = agent_policy
        self._standing = scopes.standing_instructions()
        self._flow = scopes.flow_defaults.get()
        self._entered: list[Token[Any]] = []
        self._lock = threading.RLock()
        self._check()

    def _check(self) -> None:
        if not isinstance(self.config, TaskConfig):
            raise UsageError(f"config must be a TaskConfig, not {self.config!r}.")
        if self.reuse not in (None, True, False):
            raise UsageError(f"reuse={self.reuse!r} is neither True, False nor None.")
        if self.memory_scope is not None and self.memory_scope not in SCOPES:
            raise UsageError(f"memory_scope={self.memory_scope!r} is none of {', '.join(SCOPES)}.")
        if not callable(self._policy) and self._policy not in ("suited", "round_robin"):
            raise UsageError(
                f"agent_policy={self._policy!r} is neither 'suited', 'round_robin' nor a function."
            )
        for task in self.depends_on:
            if not isinstance(task, Task):
                raise UsageError(f"depends_on must hold tasks, not {task!r}.")
        try:
            _ = self.upstream
        except RecursionError:
            raise UsageError(
                f"The inputs of {self.name!r} contain themselves, or are nested too deep."
            ) from None
        for name in self.context:
            if not isinstance(name, str) or not name.strip():
                raise UsageError(f"Inputs are named by texts, not {name!r}.")

    # Other words and what is inherited ---------------------------------------------------------------

    @property
    def description(self) -> str:
        """The objective."""
        return self.objective

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The context."""
        return self.context

    @property
    def interactive(self) -> bool:
        """Whether it may ask the person."""
        return self.user_access

    @property
    def result_type(self) -> Any:
        """The type of the result as it was given."""
        return self._result_type.annotation

    @property
    def agents(self) -> tuple[Agent, ...]:
        """Who does it: its own agents, else its parent's, else its flow's, else the default agent."""
        if self._agents:
            return self._agents
        if self.parent is not None and (inherited := self.parent.agents) != (DEFAULT_AGENT,):
            return inherited
        return self._flow.agents or (DEFAULT_AGENT,)

    @property
    def upstream(self) -> tuple[Task[Any], ...]:
        """The tasks that must be completed before this one: `depends_on` and those inside the context."""
        return tuple(dict.fromkeys([*self.depends_on, *upstream.find_inside(self.context, Task)]))

    @property
    def is_ready(self) -> bool:
        """Whether all tasks it depends on are completed."""
        return all(task.status is Status.COMPLETED for task in self.upstream)

    # The latest run ----------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """The status of the latest run; pending if there is none."""
        return self.runs[-1].status if self.runs else Status.PENDING

    @property
    def result(self) -> T | None:
        """The result of the latest run, or `None`."""
        return self.runs[-1].result if self.runs else None

    @property
    def error(self) -> BaseException | None:
        """Why the latest run has no result, or `None`."""
        return self.runs[-1].error if self.runs else None

    def __repr__(self) -> str:
        return f"<Task {self.name!r}: {self.status}>"

    def __enter__(self) -> Task[T]:
        """Makes this task the parent of the tasks made inside the block."""
        self._entered.append(scopes.parent_task.set(self))
        return self

    def __exit__(self, *exc: object) -> None:
        """Ends the block."""
        scopes.parent_task.reset(self._entered.pop())

    # Running -----------------------------------------------------------------------------------------

    def start(self, *, answers: AnswersGiven | GivenAnswers | None = None) -> Run[T]:
        """Starts a run and gives it at once; it works on in the background.

        Args:
            answers: Answers to its questions, given beforehand: in order, by words of the question, or by a
                function of the question.

        Raises:
            UsageError: If the task cannot be run as it is; nothing was spent.
            ModelNotConfigured: If it needs a model that is not there.
        """
        with self._taking_up(answers, anew=True) as (run, _):
            return run

    @overload
    def run(
        self,
        *,
        answers: AnswersGiven | None = None,
        raise_on_failure: Literal[True] = True,
        loop: Literal["caller"] | None = None,
    ) -> T: ...
    @overload
    def run(
        self,
        *,
        answers: AnswersGiven | None = None,
        raise_on_failure: bool,
        loop: Literal["caller"] | None = None,
    ) -> T | None: ...
    def run(
        self,
        *,
        answers: AnswersGiven | None = None,
        raise_on_failure: bool = True,
        loop: Literal["caller"] | None = None,
    ) -> T | None:
        """Runs the task and gives its result; goes on where `run_once` stopped.

        Args:
            answers: See `start`.
            raise_on_failure: Whether a failed or cancelled run raises; otherwise it gives `None`.
            loop: `"caller"` runs async tools on the event loop of the calling thread, for tools that are bound
                to it. It patches asyncio (nest_asyncio2); prefer `await task.run_async()`.

        Raises:
            TaskFailed: If the run failed; the class says why.
            TaskCancelled: If it was cancelled.
            RunInterrupted: If the wait was interrupted.
        """
        if loop not in (None, "caller"):
            raise UsageError(f"loop={loop!r} is neither None nor 'caller'.")
        background.refuse_loop_thread()
        tools_loop = background.callers_loop() if loop == "caller" else None
        with self._taking_up(answers, async_tools_loop=tools_loop) as (run, _):
            if loop == "caller":
                run.wait_on_callers_loop()
            else:
                run.wait_for_end()
        return run.outcome() if raise_on_failure else run.result

    async def run_async(
        self, *, answers: AnswersGiven | None = None, raise_on_failure: bool = True
    ) -> T | None:
        """Runs the task and gives its result, awaited on any event loop; otherwise like `run`."""
        with self._taking_up(answers) as (run, _):
            await run.until_end()
        return run.outcome() if raise_on_failure else run.result

    def run_once(self, *, answers: AnswersGiven | None = None) -> Run[T]:
        """Takes one turn of the model with its tool calls and gives the run, still running or ended."""
        background.refuse_loop_thread()
        with self._taking_up(answers, once=True) as (run, parked):
            run.park(parked)
        return run

    def resume(
        self, run: str | Recording[Any], *, answers: AnswersGiven | GivenAnswers | None = None
    ) -> Run[T]:
        """Goes on with a run of this task that failed or was cancelled, as a new run; see `Run.resume`.

        Args:
            run: The run or its id, for example `"r7"`; one of an earlier session is read from the store.
            answers: See `start`.
        """
        saved = resuming.conversation_to_resume(run, self)
        with self._taking_up(answers, anew=True, saved=saved) as (resumed, _):
            return resumed

    def cancel(self) -> None:
        """Cancels the latest run; does nothing if there is none or it has ended."""
        if self.runs:
            self.runs[-1].cancel()

    @contextlib.contextmanager
    def _taking_up(
        self,
        answers: AnswersGiven | GivenAnswers | None,
        *,
        once: bool = False,
        anew: bool = False,
        may_reuse: bool = True,
        saved: Conversation | None = None,
        async_tools_loop: asyncio.AbstractEventLoop | None = None,
    ) -> Iterator[tuple[Run[T], Latch]]:
        """Gives a run that was begun or goes on, and the latch of `Run.begin`; an interrupt cancels the run."""
        run = None
        try:
            with self._lock:  # two threads must not go on with one run
                run = None if anew else self._parked_run()
                if run is not None and answers is not None:
                    raise UsageError(f"Run {run.id!r} goes on; answers= can only be given when one begins.")
                run = run or self._new_run(
                    answers, async_tools_loop=async_tools_loop, saved=saved, may_reuse=may_reuse
                )
                parked = run.begin(once=once)
            yield run, parked
        except RunInterrupted:
            raise
        except KeyboardInterrupt:
            if run is None:
                raise
            raise run.interrupted() from None

    def start_anew(self, answers: GivenAnswers) -> Run[T]:
        """Starts a run that takes over no earlier result."""
        with self._taking_up(answers, anew=True, may_reuse=False) as (run, _):
            return run

    def _parked_run(self) -> Run[T] | None:
        return self.runs[-1] if self.runs and self.runs[-1].is_parked else None

    def _new_run(
        self,
        answers: AnswersGiven | GivenAnswers | None,
        *,
        async_tools_loop: asyncio.AbstractEventLoop | None = None,
        saved: Conversation | None = None,
        may_reuse: bool = True,
    ) -> Run[T]:
        use_project_settings()
        given = answers if isinstance(answers, GivenAnswers) else GivenAnswers(answers)
        upstream.refuse_cycles(self)
        brief = self._brief()
        brief = brief if may_reuse else replace(brief, reuse=False)
        there = find_audience()
        return Run(self, brief, given=given, audience=there, saved=saved, async_tools_loop=async_tools_loop)

    def _brief(self) -> Brief:
        agents = self.agents
        models = {agent: choose_model(self.model or agent.model or self._flow.model) for agent in agents}
        prices.prepare(list(models.values()), self.config.max_cost_usd)
        tools = collect_tools(self.tools, self._flow.tools)
        for agent in agents:
            offered = collect_tools(tools, agent.tools)  # two tools of one name: an error before it starts
            refuse_taken_names(self.memory_scope, offered)
        refuse_missing_memory(self.memory_scope)
        return Brief(
            name=self.name,
            objective=self.objective,
            instructions=self.instructions,
            standing=self._standing,
            context=self.context,
            result=self._result_type,
            agents=agents,
            policy=self._policy,
            model_of=models.__getitem__,
            tools=(*tools, *memory_tools(self.memory_scope), *web_tools(self.config, tools, agents)),
            user_access=self.user_access,
            default_answer=self.default_answer,
            approvals=self._approvals,
            config=self.config,
            memory_scope=self.memory_scope,
            reuse=self._may_reuse(tools, agents),
        )

    def _may_reuse(self, tools: Iterable[Tool], agents: Iterable[Agent]) -> bool:
        """An effect, or something remembered, is left out only where the task itself says so."""
        offered = collect_tools(tools, *(agent.tools for agent in agents))
        is_pure = self.memory_scope is None and not any(tool.spec.side_effects for tool in offered)
        return settings.reuse and is_pure if self.reuse is None else self.reuse

    def reuse_parts(self) -> KeyParts:
        """What its result depends on, as far as that is known before the tasks before it have run."""
        return key_parts(self._brief(), GivenAnswers(None))

    # Tasks before this one ---------------------------------------------------------------------------

    async def with_upstream_results(self, brief: Brief) -> tuple[Brief, TaskFailed | None]:
        """Gives the brief with results in the place of tasks, or why it cannot be done; on the loop's thread."""
        results, failure = await upstream.results_before(self)
        if failure is not None or not results:
            return brief, failure
        context = upstream.replace_inside(self.context, Task, results.__getitem__)
        return replace(brief, context=context), None

    async def until_ended(self, run: Run[T]) -> None:
        """Awaits the end of one of its runs, and goes on with it where it stopped after one turn."""
        while not run.status.is_final:
            with self._lock:
                if run.is_parked:
                    run.begin()
            await run.parked_or_ended()


def _one_of(name: str, value: Any, other_name: str, other: Any) -> Any:
    """Gives a field that has two names; both with different values are an error."""
    if value is not None and other is not None and value != other:
        raise UsageError(
            f"{name}={value!r} and {other_name}={other!r} are the same field with different values."
        )
    return other if value is None else value
