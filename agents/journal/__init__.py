"""The change log: its stores, and what writes and cleans them."""
