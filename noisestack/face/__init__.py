"""What `import noisestack as ns` offers, one noun a file; nothing here imports Ray."""
