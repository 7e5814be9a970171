"""Command lines: one thin file per command, and the options that they share."""
