"""``python -m butler_replica``."""

from .cli import main

main()
