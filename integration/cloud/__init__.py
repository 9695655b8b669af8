"""Stand-in for Amazon Bedrock, Google Vertex and the GCE metadata server, stricter than the real ones."""
