"""What is decided: pure functions of recorded bytes. No I/O, no clock, no randomness in this package."""
