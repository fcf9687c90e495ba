"""OpenVINO GenAI behind the worker protocol."""
