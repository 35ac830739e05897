"""Who calls, and how a service knows it by itself."""
