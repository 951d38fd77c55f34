"""Media in and out: guarded downloads, sound, film, subtitles, archives."""
