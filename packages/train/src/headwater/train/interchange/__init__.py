"""Models to and from Hugging Face transformers, with torch and safetensors alone."""
