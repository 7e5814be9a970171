"""Settings: sections, schedules, values per epoch, and layers of files and command line."""

from refusion.config.settings import Settings

__all__ = ["Settings"]
