"""What arrives elsewhere is copied into `changes`: topics of single sources, and Redis Streams."""
