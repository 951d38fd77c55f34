"""Other systems' clients: thin adapters over the same verbs, one module or folder a surface, each switchable off."""
