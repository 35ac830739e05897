class Interrupted(Exception):
    """SIGTERM or Ctrl-C stopped the drill before its end."""
