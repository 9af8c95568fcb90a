"""Where golden records are delivered to."""
