"""Search spaces, objectives, schedulers, and the sweep that Ray Tune runs."""

# Before anything here imports Ray Train: it chooses the version.
import refusion.runtime  # noqa: F401
