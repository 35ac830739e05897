"""OAuth clients, the authorization code flow with PKCE, and OpenID Connect."""
