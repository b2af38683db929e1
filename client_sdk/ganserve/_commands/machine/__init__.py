"""Run the commands that look after this machine."""
