"""The drill on servers: real processes and real servers, which are killed."""
