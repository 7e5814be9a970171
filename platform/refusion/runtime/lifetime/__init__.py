"""A job from its first moment to its last: what it claims, and the signals that end it."""
