"""An archive that is a PACS: what it holds, and how it comes here."""
