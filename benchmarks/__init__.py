"""Long measurements over synthetic patients, each a command of its own."""
