"""The noising chain: keyed noise, the Haar transform, the schedule and its exact transitions."""
