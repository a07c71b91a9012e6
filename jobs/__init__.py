"""One entry point a job: a frozen config and main(config). Ray Data and Ray Train live here."""
