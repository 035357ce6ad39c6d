"""Any butler as a source: what a repository holds, as export files say it."""
