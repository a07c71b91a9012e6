"""What drives attacks over rows."""
