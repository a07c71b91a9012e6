"""The sampling endpoint: a batching engine, its HTTP face and page, and Ray Serve around them."""
