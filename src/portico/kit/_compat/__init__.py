"""Every use of a library's private API, one module per library."""
