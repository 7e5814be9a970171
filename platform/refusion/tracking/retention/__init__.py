"""What is kept for the sake of the registry."""
