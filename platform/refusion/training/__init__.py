"""Meta-training on Ray Train: what a worker runs, one task's run, all tasks' run."""

# Before anything here imports Ray Train: it chooses the version.
import refusion.runtime  # noqa: F401
