"""Who calls, and what they may do: tokens, JWTs, certificates, roles, models and quotas. Knows no transport."""
