"""From exports to a repository: what is there, what is to be added, and adding it."""
