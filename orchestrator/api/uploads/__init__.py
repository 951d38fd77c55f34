"""/v1/uploads: files of clients, as one stream or in parts."""
