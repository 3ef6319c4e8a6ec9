"""One small module for each kind of source that an artefact can come from."""
