"""The Beam engine. Nothing here is imported before a recipe asks for it, and nothing else imports apache_beam."""
