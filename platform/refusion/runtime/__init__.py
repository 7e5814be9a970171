"""Parts that every job needs of a cluster: machines, storage, names, progress, failures."""
