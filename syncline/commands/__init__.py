"""The commands of the command line, one group a file; each is a function that `syncline.cli` registers."""
