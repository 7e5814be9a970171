"""The command lines: one thin file per command, and what they share."""
