"""Build, verify and publish model packages."""
