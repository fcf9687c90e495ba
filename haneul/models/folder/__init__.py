"""The folder of model files: blobs by their content, and what may be removed of them."""
