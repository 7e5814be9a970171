"""Epochs of a training from outside: their plan in numbers, the time that is left, and the state within one."""
