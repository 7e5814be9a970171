"""Texts of ``--help`` and ``--help-terms``, without what is slow to import."""
