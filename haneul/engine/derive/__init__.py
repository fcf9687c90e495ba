"""Makes one model file of another: other formats, adapters merged in, safetensors turned."""
