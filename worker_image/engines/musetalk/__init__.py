"""MuseTalk v1.5: a face made to speak, by a process a job or by one that keeps the models in memory."""
