"""What Istio makes of the resources in envoy/istio/: are they of its shape, and which Envoy configuration results."""
