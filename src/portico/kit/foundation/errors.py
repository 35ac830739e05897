"""The error of a command that its user can fix. The command line, the demo and the drill raise it."""


class CommandError(Exception):
    """An error that the user can fix.

    Args:
        problem: what is wrong, a sentence.
        advice: what to do about it.
    """

    def __init__(self, problem: str, advice: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice
