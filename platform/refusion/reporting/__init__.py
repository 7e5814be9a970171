"""Pages, tables and plots of recorded runs; reads records, trains nothing."""
