"""What attacks are made of: losses, norms and arithmetic on samples."""
