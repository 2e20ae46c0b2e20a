"""Sending masks to a PACS, and asking it what it holds."""
