"""Test support for services: pytest fixtures, private servers, fakes, fuzzing. The extra `portico[testing]` installs it."""
