"""Run the commands that export, package and evaluate."""
