"""What the gateway itself refuses; what it makes of a service that gives no answer is the kit's to say."""

from portico.kit.foundation.problems import Unavailable


class Overloaded(Unavailable):
    code = "overloaded"
    detail = "As many requests as can be served are in flight. Come again in {retry_after:.0f} s."
