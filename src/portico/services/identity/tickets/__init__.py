"""Tickets: a token's place in an address, for a browser that can't set a header on a WebSocket or an event stream."""
