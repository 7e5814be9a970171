"""Search spaces, objectives, schedulers, and the sweep that Ray Tune runs."""
