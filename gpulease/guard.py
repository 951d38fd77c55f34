"""The one HTTP client that fetches what clients name: public addresses only, pinned, at every redirect."""
