"""The whole path on one machine, natively: real brokers, a real S3 server and the three programs."""
