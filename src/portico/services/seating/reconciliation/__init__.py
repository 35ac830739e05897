"""Reconciliation: do the places of a show, its holds and the tickets of its bookings agree?"""
