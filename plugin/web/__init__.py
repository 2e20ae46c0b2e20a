"""Pages, JSON and metrics of the service; ``plugin.status`` is the door."""
