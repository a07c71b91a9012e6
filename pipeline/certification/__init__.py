"""What certificate sets are made with: their shards, their doubts, and rows drawn again."""
