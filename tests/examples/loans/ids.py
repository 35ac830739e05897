from portico.kit import Identifier


class BookId(Identifier, prefix="book"):
    """A book."""


class LoanId(Identifier, prefix="loan"):
    """A book in a reader's hands."""


class LendingId(Identifier, prefix="lending"):
    """A reader's wish for a book that is lent for a deposit."""
