"""Products: what is sold, and how it is found."""
