"""Load one kind of data per file."""
