"""What a repository holds: taking stock, verifying, pruning, comparing."""
