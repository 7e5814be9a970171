"""Search spaces: parameters, parsing, validation."""
