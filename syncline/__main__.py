"""`python -m syncline` is the same as `syncline`."""

from syncline.cli import app

app(prog_name="syncline")
