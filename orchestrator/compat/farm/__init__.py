"""The render farm's clients: `/renderapi/v1/*`, with engines, argument types and whole numbers for ids."""
