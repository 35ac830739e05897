"""OAuth 2 for standard clients and for services: grants, introspection, revocation."""
