"""Adapt the services to transports."""
