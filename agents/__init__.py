"""What is done: the Faust worker. Everything here has effects; what is decided comes from `streams`."""
