"""Run the command that serves models."""
