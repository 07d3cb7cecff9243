"""One attempt at a task: turns of the model, tool calls, questions, limits, until there is a result."""
