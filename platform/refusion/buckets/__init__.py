"""Object stores: opened with patience, their errors in words, and their files staged on this machine."""
