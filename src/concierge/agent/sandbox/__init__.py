"""The shell that a model may use: confined, or not there. ``search`` finds one, ``shell`` is what it finds."""
