class SettingsError(Exception):
    """The process cannot start with these settings.

    Args:
        messages: one for each mistake: what is wrong and what to do. They contain no secrets.
    """

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages = messages
