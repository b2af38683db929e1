"""Run the commands that train, evaluate and report."""
