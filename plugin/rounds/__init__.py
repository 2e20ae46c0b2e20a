"""The steps of a round of active learning on an archive."""
