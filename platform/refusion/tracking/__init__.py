"""Writing to MLflow, in this package only.

Import the file you need (``store``, ``runs``, ``recorder``, ``registry``, ``system``): this package itself imports
nothing, so that a training worker can sample ``system`` without paying for the import of MLflow.
"""
