"""What runs by itself beside receiving and delivering."""
