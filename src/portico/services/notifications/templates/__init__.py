"""Templates: what mails say, in files of the package."""
