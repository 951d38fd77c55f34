"""The shape of URLs that clients may give. Whether an address may be reached is the guard's question."""

from urllib.parse import urlsplit

SCHEMES = ("http", "https", "upload", "asset")


def check_scheme(url: str) -> str:
    """Returns the URL unchanged.

    Raises:
        ValueError: it is not http(s) with a host, nor a reference to an upload or to an asset.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise ValueError(
            "use an http:// or https:// URL, or the upload:// or asset:// reference of a file that was sent before"
        )
    return url
