"""Replicate Butler repositories from their exports.

The package works on a repository and knows nothing of Ansible: the command
line in ``butler_replica.cli`` and the Ansible modules are both thin callers of
it.
"""
