"""What the worker knows of its machine: the GPU, whether it is fit for work, what a job takes, what was done."""
