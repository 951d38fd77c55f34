"""The shape of URLs that clients may give. Whether an address may be reached is the guard's question."""

from urllib.parse import urlsplit

SCHEMES = ("http", "https", "upload")


def check_scheme(url: str) -> str:
    """Returns the URL unchanged.

    Raises:
        ValueError: it is not http(s) with a host, nor an `upload://` reference.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise ValueError(
            "use an http:// or https:// URL, or the upload:// reference that POST /v1/uploads gave"
        )
    return url
