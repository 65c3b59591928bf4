"""Pages of the web's usual kinds, generated, so that it is known of every word whether it is main content."""
