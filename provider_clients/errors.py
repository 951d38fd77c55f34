"""What can go wrong with a provider, by what the caller does next.

ProviderError
├── NoCapacity       nothing of that kind is left: try the next offer, cool this one down
├── RateLimited      wait `retry_after_s`
├── Rejected         the request is wrong: raise an alarm, never repeat it as it is
├── BadCredentials   stop using this provider until ops mend its key
├── NotFound         there is no such instance: after a delete, that is success
└── OutcomeUnknown   it may have happened: look again, and never create again
"""


class ProviderError(Exception):
    """Any failure of a provider."""


class NoCapacity(ProviderError):
    pass


class RateLimited(ProviderError):
    def __init__(self, message: str, retry_after_s: float = 30.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Rejected(ProviderError):
    """`status` is the HTTP status, where the provider's refusal had one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class BadCredentials(ProviderError):
    pass


class NotFound(ProviderError):
    pass


class OutcomeUnknown(ProviderError):
    pass
