"""The model library: files with what they hold, in versions, by name within a project or an owner's own."""
