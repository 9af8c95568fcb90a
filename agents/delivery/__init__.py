"""Golden records on their way to a target: one Faust app for each target."""
