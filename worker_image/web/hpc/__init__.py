"""`/hpc`: this worker as a render machine of others' farms."""
