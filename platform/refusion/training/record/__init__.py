"""Record of a job in MLflow: its runs, and the callback that writes each epoch."""
