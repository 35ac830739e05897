class DrillFailed(RuntimeError):
    """The drill could not run.

    Args:
        problem: what is wrong, a sentence.
        advice: what to do about it.
    """

    def __init__(self, problem: str, advice: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice


class Interrupted(Exception):
    """SIGTERM or Ctrl-C stopped the drill before its end."""
