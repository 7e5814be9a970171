"""Videos, with the extra ``video``: their frames, their check, and a writer."""
