"""Run a training: its steps, loop, checkpoints, folder and processes."""
