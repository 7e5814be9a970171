"""Demo in a browser: two pictures, a module, and all that the platform can say about what it makes of them."""
