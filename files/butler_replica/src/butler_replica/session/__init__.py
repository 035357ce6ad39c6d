"""A repository to work on: opened, locked, its errors in words."""
