"""Meta-training on Ray Train: what a worker runs, one task's run, all tasks' run."""
