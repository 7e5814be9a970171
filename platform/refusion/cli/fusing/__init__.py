"""What `fuse` does with other sources than pairs: stacks and videos."""
