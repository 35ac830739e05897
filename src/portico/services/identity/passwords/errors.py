from portico.kit import Unavailable


class HashingBusy(Unavailable):
    code = "sign_in_busy"
    detail = "Too many people are signing in at this moment. Come again in {retry_after:.0f} s."
