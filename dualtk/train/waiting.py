"""How long the processes of a training wait for each other, in seconds."""

TIMEOUT = 1800  # in a step
PATIENCE = 600  # at the start
