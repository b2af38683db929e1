"""Encode samples as picture files and decode the pictures that requests send."""
