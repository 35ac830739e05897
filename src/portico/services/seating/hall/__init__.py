"""The hall of a show: its layout, the states of its places, and the choice of places. Nothing here needs a database."""
