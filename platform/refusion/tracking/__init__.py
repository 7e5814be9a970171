"""Everything that is written to MLflow, and the only place that writes to it.

Import the file you need (``store``, ``runs``, ``recorder``, ``registry``, ``system``): this package itself imports
nothing, so that a training worker can sample ``system`` without paying for the import of MLflow.
"""
