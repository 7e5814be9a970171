"""Pictures that a validation leaves: maps of the proposed weights, and one sheet of all that it shows."""
