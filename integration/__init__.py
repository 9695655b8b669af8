"""Everything that needs a real Envoy: the local run, the integration tests, the benchmark."""
