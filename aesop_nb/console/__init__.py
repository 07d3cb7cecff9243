"""Runs in terminals and logs: the line that is painted over, what is said of a run, how a script ends."""
