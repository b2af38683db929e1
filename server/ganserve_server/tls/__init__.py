"""Certificates of the server: read, check and reload the PEM files."""
