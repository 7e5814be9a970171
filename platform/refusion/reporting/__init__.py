"""Pages, tables and pictures of what has been recorded: reads records, trains nothing."""
