"""Where the next trial's values come from."""
