from importlib.metadata import version

VERSION = version("portico")
"""Of the installed package."""
