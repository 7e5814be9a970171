"""The operations as compiled code for CPUs."""
