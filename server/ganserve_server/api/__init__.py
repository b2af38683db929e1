"""Adapt the service to transports."""
