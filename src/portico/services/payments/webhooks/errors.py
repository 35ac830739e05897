from portico.kit.foundation.problems import BadRequest, NotFound, Unauthorized


class ProviderUnknown(NotFound):
    code = "provider_unknown"
    detail = "Payments has no provider called '{provider}'."

    provider: str


class SignatureInvalid(Unauthorized):
    """The webhook does not come from the provider, or was changed on its way."""

    code = "signature_invalid"
    detail = "The webhook's signature is missing or is not the one of this body: {reason}."

    reason: str

    @property
    def headers(self) -> dict[str, str]:
        return {"www-authenticate": "Webhook-Signature"}


class SignatureOld(BadRequest):
    """The webhook was signed by the provider, and comes too late, or from the future: it may be a recording."""

    code = "signature_old"
    detail = "The webhook was signed {reason}; send it anew, with a signature of now."
