"""Find, load and hold model packages."""
