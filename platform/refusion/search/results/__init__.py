"""What a sweep ends with: comparison, held-out pairs, replay."""
