"""Run a training: the alternation, the loop, checkpoints, the run's folder, several processes."""
