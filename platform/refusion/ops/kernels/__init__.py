"""Triton kernels for a GPU; importing one needs Triton."""
