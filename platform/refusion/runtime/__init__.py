"""What every job needs of a cluster."""
