"""The requests that the render API's own document shows, as it shows them."""

SUBMITS = {
    "speech from a text": """
# Basic text-to-speech request with text parameter (Production)
curl -X POST https://your-render-api.example.com/csm \\
  -H "Content-Type: application/json" \\
  -H "X-C3-RENDER-KEY: your_api_key_here" \\
  -d '{
    "text": "Hello, this is a test of the C3 Render API text to speech system using CSM.",
    "notify_url": "https://your-webhook-endpoint.com/callback",
    "max_time": 600,
    "complete_in": 1800
  }'
""",
    "speech from sentences": """
# Text-to-speech with monologue parameter as array of sentences (Production)
curl -X POST https://your-render-api.example.com/csm \\
  -H "Content-Type: application/json" \\
  -H "X-C3-RENDER-KEY: your_api_key_here" \\
  -d '{
    "monologue": ["This is the first sentence.", "This is the second sentence."],
    "voice": "conversational_a",
    "temperature": 0.7,
    "topk": 40,
    "max_audio_length": 8000,
    "pause_duration": 200,
    "notify_url": "https://your-webhook-endpoint.com/callback",
    "max_time": 900,
    "complete_in": 3600
  }'
""",
    "speech in a cloned voice": """
curl -X POST https://your-render-api.example.com/csm \\
  -H "Content-Type: application/json" \\
  -H "X-C3-RENDER-KEY: your_api_key_here" \\
  -d '{
    "monologue": ["This is a voice cloning test.", "The system will try to mimic the voice in the reference audio."],
    "voice": "clone",
    "reference_audio_url": "https://example.com/reference-voice.mp3",
    "reference_text": "This is a sample of my voice for cloning purposes.",
    "notify_url": "https://your-webhook-endpoint.com/callback",
    "max_time": 1800,
    "complete_in": 3600
  }'
""",
    "a transcript": """
# Basic whisper request (Production)
curl -X POST https://your-render-api.example.com/whisper \\
  -H "Content-Type: application/json" \\
  -H "X-C3-RENDER-KEY: your_api_key_here" \\
  -d '{
    "audio_url": "https://example.com/path/to/audio.mp3",
    "notify_url": "https://your-webhook-endpoint.com/callback",
    "max_time": 600,
    "complete_in": 1800
  }'
""",
    "a transcript with a model": """
# Whisper request with model specification (Production)
curl -X POST https://your-render-api.example.com/whisper \\
  -H "Content-Type: application/json" \\
  -H "X-C3-RENDER-KEY: your_api_key_here" \\
  -d '{
    "audio_url": "https://example.com/path/to/audio.mp3",
    "model": "large-v3",
    "task": "translate",
    "notify_url": "https://your-webhook-endpoint.com/callback",
    "max_time": 1800,
    "complete_in": 3600
  }'
""",
    "a portrait": """
curl -X POST https://your-render-api.example.com/portrait \\
  -H "Content-Type: application/json" \\
  -H "X-C3-RENDER-KEY: your_api_key_here" \\
  -d '{
    "image_url": "https://example.com/path/to/portrait.jpg",
    "audio_url": "https://example.com/path/to/audio.mp3",
    "notify_url": "https://your-webhook-endpoint.com/callback",
    "max_time": 1800,
    "complete_in": 3600
  }'
""",
    "a portrait with a longer deadline": """
curl -X POST https://your-render-api.example.com/portrait \\
  -H "Content-Type: application/json" \\
  -H "X-C3-RENDER-KEY: your_api_key_here" \\
  -d '{
    "image_url": "https://storage.example.com/portrait.jpg",
    "audio_url": "https://storage.example.com/speech.mp3",
    "notify_url": "https://myapp.example.com/webhooks/job-complete",
    "max_time": 1800,
    "complete_in": 7200
  }'
""",
    "an image": """
curl -X POST https://your-render-api.example.com/analyze \\
  -H "Content-Type: application/json" \\
  -H "X-C3-RENDER-KEY: your_api_key_here" \\
  -d '{
    "image_url": "https://example.com/path/to/image.jpg",
    "notify_url": "https://your-webhook-endpoint.com/callback",
    "max_time": 300,
    "complete_in": 1800
  }'
""",
}
BODIES = {
    "/csm": """{
  "text": "This is an example with timing constraints.",
  "max_time": 300,        // Must complete within 5 minutes of processing time
  "complete_in": 1800     // Must complete within 30 minutes of being submitted
}""",
    "/whisper": """{
  "audio_url": "https://storage.example.com/recording.mp3",
  "model": "medium",  // Optional, defaults to "medium"
  "task": "transcribe",  // Optional, defaults to "transcribe", can also be "translate"
  "language": "",  // Optional, defaults to auto-detection
  "notify_url": "https://myapp.example.com/webhooks/job-complete",  // Optional
  "max_time": 600,  // Optional, default is 1200 seconds (20 minutes)
  "complete_in": 1800  // Optional, default is 3600 seconds (1 hour)
}""",
    "/portrait": """{
  "image_url": "https://storage.example.com/portrait.jpg",
  "audio_url": "https://storage.example.com/speech.mp3",
  "notify_url": "https://myapp.example.com/webhooks/job-complete",  // Optional
  "max_time": 1800,  // Optional, default is 1200 seconds (20 minutes)
  "complete_in": 3600  // Optional, default is 3600 seconds (1 hour)
}""",
    "/analyze": """{
  "image_url": "https://storage.example.com/image.jpg",
  "notify_url": "https://myapp.example.com/webhooks/job-complete",  // Optional
  "max_time": 300,  // Optional, default is 1200 seconds (20 minutes)
  "complete_in": 1800  // Optional, default is 3600 seconds (1 hour)
}""",
    "/job/JOB_ID": """{
  "status": "timed_out",  // Required: "timed_out", "cancelled", or "failed"
  "error": "Job timed out after 30 minutes",  // Optional: custom error message
  "remove_data": false  // Optional: whether to remove the job data from Redis
}""",
}
"""Bodies by path. The comments are the document's, and not the wire's."""

STATUS = """
# Replace JOB_ID with the actual job ID returned when submitting a job
curl -X GET https://your-render-api.example.com/status/JOB_ID \\
  -H "X-C3-RENDER-KEY: your_api_key_here"
"""
STATUS_OF_A_STRANGER = """
# Example with an actual UUID
curl -X GET https://your-render-api.example.com/status/550e8400-e29b-41d4-a716-446655440000 \\
  -H "X-C3-RENDER-KEY: your_api_key_here"
"""
RESULT = """
# Replace JOB_ID with the actual job ID returned when submitting a job
curl -X GET https://your-render-api.example.com/result/JOB_ID \\
  -H "X-C3-RENDER-KEY: your_api_key_here"
"""
RESULT_OF_A_STRANGER = """
# Example with an actual UUID
curl -X GET https://your-render-api.example.com/result/550e8400-e29b-41d4-a716-446655440000 \\
  -H "X-C3-RENDER-KEY: your_api_key_here"
"""
MARK = """
# Replace JOB_ID with the actual job ID to update
curl -X POST https://your-render-api.example.com/job/JOB_ID \\
  -H "Content-Type: application/json" \\
  -H "X-C3-RENDER-KEY: your_api_key_here" \\
  -d '{
    "status": "timed_out",
    "error": "Job timed out after waiting too long"
  }'
"""
