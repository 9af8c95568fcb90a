"""What is said: one record per file, its Avro schema beside its model; the codec between them and bytes."""
