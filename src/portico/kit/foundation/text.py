"""Characters that text of one line must not contain. Schemas reject them, and mails leave them out."""

from typing import Final

NOT_IN_A_LINE: Final = r"\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069"
"""Ranges of a regular expression: control characters, line and paragraph separators, bidirectional overrides and isolates.

The last ones (UAX 9) reorder the text around them: a reader would see something else than what is stored.
"""
