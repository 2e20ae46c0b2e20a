"""A durable queue of folders; ``plugin.jobs`` is its door."""
