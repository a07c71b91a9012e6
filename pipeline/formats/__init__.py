"""The file formats: datasets, models, sample sets, and how any output is written."""
