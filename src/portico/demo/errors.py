class DemoFailed(RuntimeError):
    """The demo could not start or stop the system it runs against.

    Args:
        problem: what is wrong, a sentence.
        advice: what to do about it.
    """

    def __init__(self, problem: str, advice: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice
