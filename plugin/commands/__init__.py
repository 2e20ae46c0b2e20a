"""The commands of ``brs``: each parses, calls one function, prints one line."""
