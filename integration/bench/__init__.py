"""The benchmark: Envoy with the plugin against plain Envoy, in the same run, on the same upstream."""
