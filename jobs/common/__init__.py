"""What several jobs share: shards that stand in a set exactly once, progress, errors out of Ray."""
