"""Many trials in one process: on a GPU each has a stream and graphs of its own, on a CPU they share its threads."""
