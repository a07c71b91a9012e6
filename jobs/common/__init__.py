"""What several jobs share: batches of shards done exactly once, progress, errors out of Ray."""
