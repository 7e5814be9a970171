"""Stacks: three or more sources of one scene, such as exposures or focal planes."""
