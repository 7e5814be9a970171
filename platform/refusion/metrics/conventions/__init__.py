"""One file per convention: which function, with which peculiarities, computes each of its metrics."""
