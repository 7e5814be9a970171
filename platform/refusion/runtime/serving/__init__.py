"""Web apps that Ray serves."""
