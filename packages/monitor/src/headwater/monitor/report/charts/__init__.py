"""Inline SVG charts, one module per kind. Each returns markup and draws with CSS variables, never fixed colours."""
