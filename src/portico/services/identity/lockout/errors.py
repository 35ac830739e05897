from portico.kit import TooManyRequests


class SignInLocked(TooManyRequests):
    detail = "Too many sign-ins failed. Try again in {retry_after:.0f} s."
