"""Building blocks of every configuration: annealed values, checks, and registries of alternatives."""
