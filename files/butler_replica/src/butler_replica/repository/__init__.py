"""Making a repository, and making it anew: the guard stands beside what it guards."""
