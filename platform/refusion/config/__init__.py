"""Settings: sections, schedules, values per epoch, and layers of files and command line."""
