"""Commands that look at what there is, or let others look: runs, demo."""
