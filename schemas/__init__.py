"""What is said: one record per file, its Avro schema beside its model; the codec between bytes and records."""
