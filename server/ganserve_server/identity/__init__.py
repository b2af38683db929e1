"""Callers and their rights, without a transport: tokens, JWTs, certificates, roles, models and quotas."""
