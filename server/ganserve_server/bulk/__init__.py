"""Generate and score any number of samples without a server, in shards that a killed job does not lose."""
