"""What services may know of each other: their events and their typed clients."""
