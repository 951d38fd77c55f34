"""Where uploads and results lie, and the signed URLs that lead there."""
