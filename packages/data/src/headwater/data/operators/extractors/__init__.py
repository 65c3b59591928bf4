"""Text extractors for HTML, what they are asked, and how they are kept from running away."""
