"""Real Kafka clients against a real broker: the suite of `tests/clients/run`."""
