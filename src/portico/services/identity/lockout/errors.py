from portico.kit import TooManyRequests


class SignInLocked(TooManyRequests):
    code = "sign_in_locked"
    detail = "Too many sign-ins failed. Try again in {retry_after:.0f} s."
