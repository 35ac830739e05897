"""The waiting list of a show: who gets the places that come free."""
