"""CHAINED collections, and the collections that a replica ends with."""
