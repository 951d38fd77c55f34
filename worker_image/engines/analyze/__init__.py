"""`analyze`: a vision model behind Ollama or an OpenAI-compatible API, or what a CPU can honestly measure."""
