"""What `portico new` writes: projects, services and resources, from templates."""
