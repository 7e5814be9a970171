"""Display of a job: what it will do, how its tasks go, and how they ended."""
